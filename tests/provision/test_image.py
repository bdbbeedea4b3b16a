"""Images: the layout, writing and looking with the real tools, what the check misses."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from pathlib import Path

import pytest

from edge_node.cli.main import main
from edge_node.errors import EdgeNodeError, UsageError
from edge_node.host.enrolment import KEY_FILE, STATE_DIR
from edge_node.provision import image, image_check, image_disk
from edge_node.provision.image import Recipe
from edge_node.provision.image_disk import BOOT_MIB, MIB, TOOLS, Ext4, Fat, layout

ROOT = Path(__file__).parents[2]
needs_tools = pytest.mark.skipif(
    any(shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin") is None for tool in TOOLS),
    reason="needs apt-get install fdisk e2fsprogs dosfstools mtools",
)


def test_the_last_partition_ends_with_the_image() -> None:
    for state in (False, True):
        parts = layout(4096, state=state)
        assert [part.number for part in parts] == list(range(1, len(parts) + 1))
        assert parts[-1].start + parts[-1].size == 4096 * MIB
        assert all(one.start + one.size == two.start for one, two in itertools.pairwise(parts))


def test_too_small() -> None:
    with pytest.raises(EdgeNodeError, match="--size 4G"):
        layout(BOOT_MIB + 100, state=False)


def make(folder: Path, *, state: bool = False) -> Path:
    """An image of a system that hardly deserves the name."""
    boot, root, kept = folder / "boot", folder / "root", folder / "state"
    (boot / "overlays").mkdir(parents=True)
    for name in (*image_check.FIRMWARE, *image_check.BOARDS, "vmlinuz-6.1", "initrd.img-6.1"):
        (boot / name).write_text(name)
    (boot / "config.txt").write_text("kernel=vmlinuz-6.1\ninitramfs initrd.img-6.1\n")
    (boot / "cmdline.txt").write_text("root=LABEL=edge-node rw" + (" edge_node.overlay" if state else ""))
    for path in (*image_check.SYSTEM, "/usr/lib/modules/6.1/modules.dep"):
        keeps = state and any(path.startswith(f"/{name}/") for name in image_disk.STATE_FOLDERS)
        file = (kept if keeps else root) / path[1:]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("x")
    if state:
        journal = root / image_disk.VOLATILE_JOURNAL[1:]
        journal.parent.mkdir(parents=True)
        journal.write_text("[Journal]\nStorage=volatile\n")
    (root / "etc/machine-id").write_text("")
    (root / "etc/shadow").write_text("root:*:20000::::::\n")
    (root / "etc/hostname").write_text("edge-node\n")
    target = folder / "card.img"
    image_disk.write(target, 2600, boot, root, kept if state else None)
    return target


@needs_tools
def test_what_is_written_is_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = make(tmp_path, state=True)
    assert [f for f in image_check.verify(card) if not f.ok] == []
    assert image_disk.partitions(card) == layout(2600, state=True)
    assert card.stat().st_blocks * 512 < 200 * MIB, "holes stay holes"
    assert main(["image", "verify", str(card), "--json"]) == 0
    assert all(finding["ok"] for finding in json.loads(capsys.readouterr().out))
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


@needs_tools
def test_what_is_wrong_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    card = make(tmp_path)
    boot, root = image_disk.partitions(card)
    assert Ext4(card, root).text("/etc/hostname") == "edge-node\n"
    assert Ext4(card, root).text("/etc/nothing") == ""
    image_disk.run(
        ["debugfs", "-w", "-R", "rm /usr/lib/udev/rules.d/60-edge-node-gpio.rules", f"{card}?offset={root.start}"]
    )
    image_disk.run(["mdel", "-i", f"{card}@@{boot.start}", "::/bcm2711-rpi-4-b.dtb"])
    assert main(["image", "verify", str(card)]) == 1
    said = capsys.readouterr().out
    assert "NOT OK boot: lacks ['bcm2711-rpi-4-b.dtb']" in said
    assert "NOT OK root: /usr/lib/udev/rules.d/60-edge-node-gpio.rules" in said
    fat = Fat(card, boot)
    fat.fetch("config.txt", tmp_path / "config.txt")
    assert "kernel=vmlinuz-6.1" in (tmp_path / "config.txt").read_text()
    with card.open("r+b") as file:
        file.seek(root.start + 1024)
        file.write(bytes(1024))  # its superblock
    assert any(not f.ok and "ext4" in f.text for f in image_check.verify(card))


@needs_tools
def test_an_identity_on_every_card_is_found(tmp_path: Path) -> None:
    """Under the names that the node really gives to its key."""
    assert str(STATE_DIR / KEY_FILE) in image_check.SECRETS
    (tmp_path / "state/var/lib/edge-node").mkdir(parents=True)
    (tmp_path / "state/var/lib/edge-node" / KEY_FILE).write_text("a key")
    card = make(tmp_path, state=True)
    assert [f.text for f in image_check.verify(card) if not f.ok] == [
        f"root: no {STATE_DIR / KEY_FILE}, as every card would have the same"
    ]


@needs_tools
def test_a_broken_file(tmp_path: Path) -> None:
    (tmp_path / "x.img").write_bytes(bytes(MIB))
    with pytest.raises(EdgeNodeError, match="no partition table"):
        image_check.verify(tmp_path / "x.img")
    with pytest.raises(EdgeNodeError, match="there is no file"):
        image_check.verify(tmp_path / "none.img")


@pytest.mark.parametrize("read_only", [False, True])
def test_where_a_card_keeps_what(tmp_path: Path, read_only: bool) -> None:
    """Of 512 MB the journal of a root that is only read must not have the 50 that are meant for a card."""
    for name in ("etc/default", "var", "boot/firmware"):
        (tmp_path / name).mkdir(parents=True)
    image._configure(tmp_path, Recipe(ROOT, Path("a.deb"), Path("b.tar"), 4096, read_only))
    table = (tmp_path / "etc/fstab").read_text()
    assert ("/state/opt/edge-node /opt/edge-node none bind" in table) == read_only
    assert table.count("noatime,commit=30") == 1, "what is written, is written seldom"
    journal = tmp_path / image_disk.VOLATILE_JOURNAL[1:]
    assert journal.exists() == read_only and (not read_only or "Storage=volatile" in journal.read_text())
    assert ("edge_node.overlay" in (tmp_path / "boot/firmware/cmdline.txt").read_text()) == read_only


def test_the_recipe_is_there() -> None:
    recipe = Recipe(ROOT, Path("a.deb"), Path("b.tar"), 4096, False)
    assert {"linux-image-arm64", "raspi-firmware", "systemd", "python3-venv"} <= set(recipe.packages())
    assert all(path.is_file() for path, _ in recipe.early())


@needs_tools
def test_a_release_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_disk, "need", lambda tools: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(UsageError, match=r"package\.sh"):
        image.build(tmp_path / "x.img", Recipe(ROOT, tmp_path / "a", tmp_path / "b", 4096, False), print)
    with pytest.raises(UsageError, match=r"there is no folder .*/none: make it"):
        image.build(tmp_path / "none/x.img", Recipe(ROOT, tmp_path / "a", tmp_path / "b", 4096, False), print)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(UsageError, match="sudo"):
        image.build(tmp_path / "x.img", Recipe(ROOT, tmp_path / "a", tmp_path / "b", 4096, False), print)


def test_others_than_root_may_read_the_image_s_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask of whoever makes it: the daemon is no root."""
    (tmp_path / "file").touch()

    def build(out: Path, *_: object) -> None:
        out.mkdir()  # shows the umask

    monkeypatch.setattr(image, "build", build)
    words = ["--deb", str(tmp_path / "file"), "--bundle", str(tmp_path / "file"), "--mirror", "http://mirror.invalid"]
    before = os.umask(0o077)
    try:
        assert main(["image", "build", "--out", str(tmp_path / "made"), *words]) == 0
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o755


def test_missing_programs_are_named_with_their_packages() -> None:
    with pytest.raises(EdgeNodeError, match="apt-get install nothing-such"):
        image_disk.need({"no-such-program": "nothing-such"})


def test_a_program_that_fails_or_hangs() -> None:
    with pytest.raises(EdgeNodeError, match="failed: oops"):
        image_disk.run(["sh", "-c", "echo oops; exit 3"])
    with pytest.raises(EdgeNodeError, match="did not end"):
        image_disk.run(["sleep", "30"], deadline_s=0.1)


@pytest.mark.parametrize("size", ["4", "4T", "big"])
def test_sizes(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["image", "build", "--out", "x.img", "--size", size])
    assert "is no size such as 4G" in capsys.readouterr().err
