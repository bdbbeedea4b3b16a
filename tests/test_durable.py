"""Files that are there as a whole, or as they were."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_node import durable


def test_a_file_is_replaced_with_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "key"
    durable.put(path, b"one")
    assert path.stat().st_mode & 0o777 == 0o600
    durable.put(path, b"two", mode=0o644)
    assert path.read_bytes() == b"two" and path.stat().st_mode & 0o777 == 0o644
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_what_fails_leaves_the_old_content_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "key"
    durable.put(path, b"old")
    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        durable.put(path, b"new")
    assert path.read_bytes() == b"old" and [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_what_a_power_cut_left_aside_is_written_over(tmp_path: Path) -> None:
    (tmp_path / ".key.new").write_bytes(b"half of a longer content")
    durable.put(tmp_path / "key", b"whole")
    assert (tmp_path / "key").read_bytes() == b"whole"


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"untouched")
    (tmp_path / ".key.new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        durable.put(tmp_path / "key", b"x")
    assert (tmp_path / "elsewhere").read_bytes() == b"untouched"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_leaves_it_to_whom_the_directory_belongs(tmp_path: Path) -> None:
    os.chown(tmp_path, 1234, 1235)
    durable.put(tmp_path / "key", b"x")
    about = (tmp_path / "key").stat()
    assert (about.st_uid, about.st_gid) == (1234, 1235)


@pytest.mark.parametrize("content", [None, b"", b"{", b"[1]", b"\xff"])
def test_what_is_no_object_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "value"
    if content is not None:
        path.write_bytes(content)
    assert durable.read_json(path) is None
    durable.put(path, b'{"a": 1}')
    assert durable.read_json(path) == {"a": 1}
