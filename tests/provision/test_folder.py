"""Folders: written once, the same for ever, told when somebody touches them."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from edge_node.errors import EdgeNodeError, SettingsError
from edge_node.provision.disk import Disk
from edge_node.provision.folder import Result, read_claim, verify, write_all, write_folder
from tests.provision.cards import boot_partition, card


def snapshot(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode & 0o777)
        for path in files
    }


def test_again_changes_no_byte_and_a_change_is_a_new_generation(tmp_path: Path) -> None:
    place = tmp_path / "gate-1"
    assert write_folder(card(), place, Disk()) == Result(place, 1, "new")
    first = snapshot(place)
    assert {mode for _, _, mode in first.values()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (place, place / "edge-node")} == {0o700}
    assert write_folder(card(), place, Disk()) == Result(place, 1, "same")
    assert snapshot(place) == first
    assert write_folder(card(keymap="us"), place, Disk(), dry=True).change == "changed"
    assert snapshot(place) == first, "a dry run writes nothing"
    assert write_folder(card(keymap="us"), place, Disk()) == Result(place, 2, "changed")
    assert b"edge-node-gate-1-2" in (place / "meta-data").read_bytes()
    assert verify(place).generation == 2
    assert write_folder(card(keymap="us", format="rpi-preseed"), place, Disk()).generation == 3
    assert not (place / "user-data").exists() and verify(place).format == "rpi-preseed"


def test_what_was_touched_is_told_and_restored(tmp_path: Path) -> None:
    place = tmp_path / "gate-1"
    write_folder(card(), place, Disk())
    (place / "user-data").write_text("x")
    (place / "network-config").chmod(0o644)
    with pytest.raises(EdgeNodeError, match="was changed after"):
        verify(place)
    assert write_folder(card(), place, Disk()).change == "restored"
    assert verify(place) and (place / "network-config").stat().st_mode & 0o777 == 0o600
    (place / "meta-data").unlink()
    with pytest.raises(EdgeNodeError, match="is missing"):
        verify(place)
    (place / "edge-node" / "manifest.json").write_text("{")
    with pytest.raises(EdgeNodeError, match="spoilt"):
        verify(place)
    with pytest.raises(EdgeNodeError, match="was not written"):
        verify(tmp_path)


def test_a_card_with_a_wrong_command_line(tmp_path: Path) -> None:
    place = boot_partition(tmp_path / "boot")
    write_folder(card(), place, Disk())
    with pytest.raises(EdgeNodeError, match=r"cmdline\.txt is not one line"):
        verify(place)


class FullDisk(Disk):
    def write(self, handle: int, content: bytes) -> None:
        super().write(handle, content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    place = tmp_path / "gate-1"
    write_folder(card(), place, Disk())
    before = snapshot(place)
    with pytest.raises(EdgeNodeError, match="No space left"):
        write_folder(card(keymap="us"), place, FullDisk())
    assert snapshot(place) == before
    told: list[Result] = []
    done, failed = write_all([card(keymap="us")], tmp_path, FullDisk(), dry=False, told=told.append)
    assert (done, told) == (0, []) and failed[0].startswith("gate-1: ")


def test_files_edited_by_hand_in_words(tmp_path: Path) -> None:
    path = tmp_path / "claim.toml"
    for text, reason in (
        ("hub = ", "half written"),
        ('hub = "wss://x"\nnode = "a"\n', "code"),
        (None, "cannot be read"),
    ):
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
        with pytest.raises(SettingsError, match=reason):
            read_claim(path)


def test_settings_for_another_node_are_found(tmp_path: Path) -> None:
    place = tmp_path / "gate-1"
    write_folder(card(), place, Disk())
    manifest = json.loads((place / "edge-node/manifest.json").read_text())
    (place / "edge-node/manifest.json").write_text(json.dumps(manifest | {"id": "gate-9"}))
    with pytest.raises(EdgeNodeError, match="not for gate-9"):
        verify(place)
