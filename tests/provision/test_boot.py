"""Onto a card: what others wrote is kept, the command line stays one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edge_node.errors import EdgeNodeError, UsageError
from edge_node.provision import boot as room
from edge_node.provision.boot import apply, one_line, plan
from edge_node.provision.disk import Disk
from edge_node.provision.folder import verify
from tests.provision.cards import boot_partition, folder


def put(place: Path, boot: Path, *added: Path, force: bool = False) -> None:
    disk = Disk()
    apply(plan(place, boot, added, disk, force=force), boot, disk)


def test_a_fresh_image_gets_it_and_again_changes_nothing(tmp_path: Path) -> None:
    boot, place = boot_partition(tmp_path / "boot"), folder(tmp_path)
    bundle = tmp_path / "edge-node_0.1.0_all.deb"
    bundle.write_bytes(b"deb")
    put(place, boot, bundle)
    line = (boot / "cmdline.txt").read_text()
    assert line.splitlines() == [
        "console=tty1 root=PARTUUID=ab-02 rootwait quiet "
        "cgroup_enable=memory cfg80211.ieee80211_regdom=DE ds=nocloud;i=edge-node-gate-1-1"
    ]
    assert verify(boot).id == "gate-1" and (boot / "edge-node" / bundle.name).read_bytes() == b"deb"
    before = {path: path.stat().st_mtime_ns for path in boot.rglob("*")}
    put(place, boot, bundle)
    assert {path: path.stat().st_mtime_ns for path in boot.rglob("*")} == before
    put(folder(tmp_path, keymap="us"), boot)
    assert (boot / "cmdline.txt").read_text() == line.replace("gate-1-1", "gate-1-2"), "replaced, not appended"


def test_what_somebody_else_wrote_is_kept(tmp_path: Path) -> None:
    boot, place = boot_partition(tmp_path / "boot"), folder(tmp_path)
    (boot / "user-data").write_text("#cloud-config\npackages: [vim]\n")
    (boot / "firstrun.sh").write_text("echo theirs\n")
    with pytest.raises(EdgeNodeError, match=r"somebody else wrote user-data, firstrun\.sh"):
        put(place, boot)
    assert "vim" in (boot / "user-data").read_text()
    put(place, boot, force=True)
    assert "vim" in (boot / f"user-data{room.BACKUP}").read_text()
    assert "theirs" in (boot / f"firstrun.sh{room.BACKUP}").read_text() and not (boot / "firstrun.sh").exists()
    assert verify(boot)


def test_the_wrong_card_or_image(tmp_path: Path) -> None:
    place = folder(tmp_path)
    with pytest.raises(UsageError, match="no boot partition"):
        put(place, tmp_path)
    old = boot_partition(tmp_path / "old", cloud_init=False)
    with pytest.raises(EdgeNodeError, match="has no cloud-init"):
        put(place, old)
    boot = boot_partition(tmp_path / "boot")
    with pytest.raises(EdgeNodeError, match="ignores firstrun"):
        put(folder(tmp_path, format="firstrun"), boot)
    put(folder(tmp_path, format="firstrun"), old)
    assert (old / "cmdline.txt").read_text().split()[-1] == "systemd.unit=kernel-command-line.target"
    put(folder(tmp_path), boot)
    manifest = boot / "edge-node" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"gate-1"', '"gate-7"', 1))
    with pytest.raises(EdgeNodeError, match="this card is for gate-7"):
        put(place, boot)
    with pytest.raises(UsageError, match="name a package"):
        put(place, boot, tmp_path / "none.deb", force=True)


class SmallDisk(Disk):
    def free_bytes(self, folder: Path) -> int:
        return 1000

    def rename(self, source: Path, target: Path) -> None:
        raise OSError(30, "Read-only file system")


def test_a_full_or_locked_card(tmp_path: Path) -> None:
    boot, place = boot_partition(tmp_path / "boot"), folder(tmp_path)
    with pytest.raises(EdgeNodeError, match="no room"):
        plan(place, boot, (), SmallDisk(), force=False)
    before = (boot / "cmdline.txt").read_text()
    with pytest.raises(EdgeNodeError, match="Read-only"):
        apply(plan(place, boot, (), Disk(), force=False), boot, SmallDisk())
    assert (boot / "cmdline.txt").read_text() == before


def test_a_card_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    boot, place = boot_partition(tmp_path / "boot"), folder(tmp_path)
    read = Path.read_text

    def worn(path: Path, *args: Any, **more: Any) -> str:
        if path == boot / "cmdline.txt":
            raise OSError(5, "Input/output error", str(path))
        return read(path, *args, **more)

    monkeypatch.setattr(Path, "read_text", worn)
    with pytest.raises(
        EdgeNodeError,
        match=r"cmdline.txt cannot be read \(Input/output error\): check that file, and how the card sits",
    ):
        plan(place, boot, (), Disk(), force=False)


def test_a_claim_that_is_none_any_more_leaves_the_card(tmp_path: Path) -> None:
    boot = boot_partition(tmp_path / "boot")
    put(folder(tmp_path), boot)
    assert (boot / "edge-node" / "claim.toml").exists()
    put(folder(tmp_path, claim=None), boot)
    assert not (boot / "edge-node" / "claim.toml").exists()


def test_one_line_whatever_was_there() -> None:
    assert one_line("a\n\nb  c\r\n", ["x"]) == "a b c x\n"
    assert one_line("a ds=nocloud;i=1 x ds=nocloud", ["ds=nocloud;i=2", "x"]) == "a ds=nocloud;i=2 x\n"
