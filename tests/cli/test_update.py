"""The commands of updates; what they do is tested in tests/update."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from edge_node.cli.main import main


def test_the_status_of_a_machine_without_slots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["update", "status", "--root", str(tmp_path)]) == 0
    assert capsys.readouterr().out.startswith("slot a: -, empty")
    assert main(["update", "status", "--json", "--root", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["current"] is None


def test_no_package_no_update(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(tmp_path / "absent")
    assert main(["update", "apply", "--root", root, "release.tar"]) == 2
    assert main(["update", "rollback", "--root", root]) == 2
    assert "install the package" in capsys.readouterr().err


@pytest.mark.parametrize(("user", "remedy"), [(0, "its disk is read-only"), (1000, "run it with sudo")])
def test_a_root_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, user: int, remedy: str
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert main(["update", "apply", "--root", str(tmp_path), "release.tar"]) == 2
    assert remedy in capsys.readouterr().err


def test_a_disk_that_takes_nothing_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, **how: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "mkdir", full)
    assert main(["update", "rollback", "--root", str(tmp_path)]) == 1
    assert "could not be written ([Errno 28] No space left on device)" in capsys.readouterr().err


def test_a_bundle_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "release.tar").write_text("no tar")
    assert main(["update", "apply", "--root", str(tmp_path), str(tmp_path / "release.tar")]) == 1
    assert "get the bundle again" in capsys.readouterr().err
    assert main(["update", "rollback", "--root", str(tmp_path)]) == 1
    assert "no other version" in capsys.readouterr().err
