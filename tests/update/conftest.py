"""A publisher, a machine that runs 1.0.0."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from edge_node.update import build
from tests.support.update_lab import Machine, Publisher, quick_venv


@pytest.fixture(autouse=True)
def syncs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """sync(2) waits for everybody's files, on a busy machine for a minute: counted instead; fsync(2) waits, too."""
    counted: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(os, "sync", lambda: counted.append("sync"))
    return counted


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots are built without pip, which takes seconds, except in tests that ask for `pip`."""
    if "pip" not in request.fixturenames:
        monkeypatch.setattr(build, "make_venv", quick_venv)


@pytest.fixture
def pip() -> None:
    """Slots are built as on a device."""


@pytest.fixture(scope="session")
def publisher(tmp_path_factory: pytest.TempPathFactory) -> Publisher:
    return Publisher(tmp_path_factory.mktemp("publisher"))


@pytest.fixture(scope="session")
def first(publisher: Publisher, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine that runs 1.0.0; each test works on a copy made by `machine`."""
    folder = tmp_path_factory.mktemp("first")
    machine = Machine(folder)
    machine.settings.write_text("1")
    machine.updater.install(publisher.bundle("1.0.0"), publisher.keys)
    return folder


@pytest.fixture
def machine(first: Path, tmp_path: Path) -> Machine:
    # The virtual environments are only run, never changed: they may point to where they were made.
    shutil.copytree(first, tmp_path / "machine", symlinks=True)
    return Machine(tmp_path / "machine")
