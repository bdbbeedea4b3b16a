"""Options and fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support import conformance
from tests.support.pulse import PulseLab, pulse_lab

# Rows may be shown by the tests of any room.
pytest_runtest_logreport = conformance.note


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--hardware", action="store_true", help="run the contract tests against this board's real devices")
    parser.addoption("--systemd", action="store_true", help="boot a real systemd in a container (needs root)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for mark in ("hardware", "systemd"):
        if config.getoption(f"--{mark}"):
            continue
        skip = pytest.mark.skip(reason=f"runs with --{mark}")
        for item in items:
            if mark in item.keywords:
                item.add_marker(skip)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[PulseLab]:
    """A lab whose sound devices are found by the processes started from here on."""
    with pulse_lab() as lab:
        for name, value in lab.env.items():
            if os.environ.get(name) != value:
                monkeypatch.setenv(name, value)
        yield lab
