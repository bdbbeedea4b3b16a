"""Into an image file: the rules of a card, on a real FAT file system, and nothing half done."""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from edge_node.errors import EdgeNodeError, SettingsError, UsageError
from edge_node.host.enrolment import CLAIM_FILE
from edge_node.provision import image_card, image_disk
from edge_node.provision.boot import BACKUP
from edge_node.provision.disk import Disk
from edge_node.provision.firstboot import ETC, STATE, FirstBoot
from edge_node.provision.image_card import boot_partition, read_back, write
from edge_node.provision.image_disk import MIB, SECTOR, Fat
from tests.provision.cards import boot_partition as fresh_boot
from tests.provision.cards import folder

pytestmark = pytest.mark.skipif(shutil.which("mformat") is None, reason="needs apt-get install mtools")

BOOT_MIB = 6
OWN_LINE = "console=tty0 root=LABEL=edge-node rw rootwait\n"


def table(*parts: tuple[int, int, int]) -> bytes:
    """A sector with (type, first MiB, MiB) of each partition."""
    entries = b"".join(struct.pack("<B3xB3xII", 0, kind, *(n * MIB // SECTOR for n in rest)) for kind, *rest in parts)
    return bytes(446) + entries.ljust(64, b"\0") + b"\x55\xaa"


def make(tmp_path: Path, *, cloud_init: bool = True, line: str | None = None, name: str = "os.img") -> Path:
    """An image as it is downloaded: boot partition with a fresh system's files, something like a root after it."""
    image, boot = tmp_path / name, tmp_path / f"{name}.boot"
    fresh_boot(boot, cloud_init=cloud_init)
    if line is not None:
        (boot / "cmdline.txt").write_text(line)
    with image.open("wb") as file:
        file.write(table((0xC, 1, BOOT_MIB), (0x83, 1 + BOOT_MIB, 1)))
        file.seek((1 + BOOT_MIB) * MIB)
        file.write(b"root" * (MIB // 4))
    at = f"{image}@@{MIB}"
    tools = [["mformat", "-i", at, "-T", str(BOOT_MIB * MIB // SECTOR), "::"]]
    for words in [*tools, ["mcopy", "-i", at, *map(str, sorted(boot.iterdir())), "::/"]]:
        subprocess.run(words, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin", "MTOOLS_SKIP_CHECK": "1"})
    return image


def put(place: Path, image: Path, *added: Path, force: bool = False) -> None:
    write(place, image, added, image, force=force)


def digest(image: Path) -> str:
    return hashlib.sha256(image.read_bytes()).hexdigest()


def text(image: Path, name: str) -> str:
    return boot_partition(image).text(name)


def test_a_fresh_image_gets_it_and_again_changes_nothing(tmp_path: Path) -> None:
    image, place = make(tmp_path), folder(tmp_path)
    bundle = tmp_path / "edge-node_0.1.0_all.deb"
    bundle.write_bytes(b"deb" * 100_000)
    put(place, image, bundle)
    words = (
        "console=tty1 root=PARTUUID=ab-02 rootwait quiet "
        "cgroup_enable=memory cfg80211.ieee80211_regdom=DE ds=nocloud;i=edge-node-gate-1-1"
    )
    assert text(image, "cmdline.txt") == words + "\n"
    assert text(image, f"edge-node/{bundle.name}") == "deb" * 100_000 and text(image, "config.txt") == "[all]\n"
    assert read_back(image).id == "gate-1" and image.stat().st_mode & 0o777 == 0o600
    assert image.read_bytes()[-MIB:] == b"root" * (MIB // 4), "the rest of the image is as it was"
    before = digest(image), image.stat().st_mtime_ns
    put(place, image, bundle)
    assert (digest(image), image.stat().st_mtime_ns) == before
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_changed_card_is_written_again(tmp_path: Path) -> None:
    image = make(tmp_path)
    put(folder(tmp_path), image)
    put(folder(tmp_path, claim=None, hostname="other"), image)
    assert text(image, "cmdline.txt").split()[-1] == "ds=nocloud;i=edge-node-gate-1-2"
    with pytest.raises(EdgeNodeError, match="mtype"):
        text(image, "edge-node/claim.toml")
    assert read_back(image).hostname == "other"


def test_one_image_makes_many_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    image, place, out = make(tmp_path), folder(tmp_path), tmp_path / "gate-1.img"
    before = digest(image)
    write(place, image, (), out, force=False)
    once = digest(out)
    assert digest(image) == before != once and read_back(out).id == "gate-1" and out.stat().st_mode & 0o777 == 0o600
    out.unlink()
    write(place, image, (), out, force=False)
    write(place, image, (), out, force=False)
    assert digest(out) == once
    put(folder(tmp_path, **other("gate-2")), image)
    with pytest.raises(EdgeNodeError, match="is there already, and not for gate-1"):
        write(place, make(tmp_path, name="b.img"), (), image, force=False)
    with pytest.raises(EdgeNodeError, match="this card is for gate-2, not gate-1"):
        put(place, image)
    put(place, image, force=True)
    assert read_back(image).id == "gate-1"


def other(node: str) -> dict[str, object]:
    settings = {"node": {"id": node}, "channel": {"name": "home/gates", "api_key": "pk_live_canary0123456789"}}
    return {"id": node, "hostname": node, "claim": None, "settings": settings}


def test_what_somebody_else_wrote_is_kept(tmp_path: Path) -> None:
    image, place = make(tmp_path), folder(tmp_path)
    theirs = tmp_path / "theirs"
    theirs.write_text("#cloud-config\npackages: [vim]\n")
    boot_partition(image).put(theirs, "user-data")
    boot_partition(image).put(theirs, "FIRSTRUN.SH")
    before = digest(image)
    with pytest.raises(EdgeNodeError, match=r"somebody else wrote user-data, firstrun\.sh"):
        put(place, image)
    write(place, image, (), image, force=True, dry=True)
    assert digest(image) == before
    put(place, image, force=True)
    assert "vim" in text(image, f"user-data{BACKUP}") and "vim" in text(image, f"firstrun.sh{BACKUP}")
    assert "FIRSTRUN.SH" not in boot_partition(image).names() and read_back(image)


def test_the_formats_belong_to_their_images(tmp_path: Path) -> None:
    own = make(tmp_path, cloud_init=False, line=OWN_LINE, name="own.img")
    with pytest.raises(EdgeNodeError, match='set format = "edge-node"'):
        put(folder(tmp_path), own)
    place = folder(tmp_path, format="edge-node", user=None)
    put(place, own)
    assert "psk=" in text(own, "edge-node/wifi.nmconnection") and "install.sh" not in read_back(own).files
    assert text(own, "cmdline.txt").split()[-2:] == ["cfg80211.ieee80211_regdom=DE", "systemd.hostname=gate-1"]
    with pytest.raises(EdgeNodeError, match="did not make this image"):
        put(place, make(tmp_path))


def test_the_first_start_takes_it_over(tmp_path: Path) -> None:
    image, root = make(tmp_path, cloud_init=False, line=OWN_LINE), tmp_path / "device"
    put(folder(tmp_path, format="edge-node", user=None), image)
    (root / "boot/firmware").mkdir(parents=True)
    boot_partition(image).fetch("edge-node", root / "boot/firmware")
    assert FirstBoot(root, Disk(), now_wall=1_800_000_000.0).run()
    assert 'id = "gate-1"' in (root / ETC).read_text() and (root / STATE / CLAIM_FILE).exists()
    assert [path.name for path in (root / "boot/firmware/edge-node").iterdir()] == ["wifi.nmconnection"], (
        "NetworkManager's"
    )


def test_a_hand_in_it_is_told_by_the_images_name(tmp_path: Path) -> None:
    image = make(tmp_path)
    with pytest.raises(EdgeNodeError, match=r"os\.img has no edge-node/manifest\.json"):
        read_back(image)
    put(folder(tmp_path), image)
    changed = tmp_path / "changed"
    changed.write_text("a b\nc\n")
    boot_partition(image).put(changed, "cmdline.txt")
    with pytest.raises(EdgeNodeError, match=r"os\.img/cmdline\.txt is not one line"):
        read_back(image)
    changed.write_text("[node]\nid =\n")
    boot_partition(image).put(changed, "edge-node/edge-node.toml")
    with pytest.raises(EdgeNodeError, match=r"os\.img/edge-node/edge-node\.toml was changed"):
        read_back(image)
    error = image_card._as_of(SettingsError(["/x/boot/a is wrong", "b"]), "/x/boot", "os.img")
    assert isinstance(error, SettingsError) and error.problems == ("os.img/a is wrong", "b")


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\xfd7zXZ\x00 and so on", r"is packed: unpack it first \(xz --decompress --keep os\.img\.xz\)"),
        (b"\x1f\x8b\x08", "gunzip"),
        (b"PK\x03\x04", "unzip"),
        (bytes(SECTOR), "no partition table"),
        (b"", "no partition table"),
        (table((0x83, 1, 2)) + bytes(4 * MIB), r"no FAT partition to start from \(its types are: 83\)"),
        (table() + bytes(MIB), "its types are: none"),
        (table((0xC, 1, 6))[:SECTOR] + bytes(3 * MIB), "cut short"),
        (table((0xC, 1, 2)) + bytes(4 * MIB), "its boot partition cannot be read"),
    ],
)
def test_what_is_no_image(head: bytes, says: str, tmp_path: Path) -> None:
    image = tmp_path / "os.img.xz"
    image.write_bytes(head)
    with pytest.raises(EdgeNodeError, match=says):
        put(folder(tmp_path), image)
    assert image.read_bytes() == head


def test_what_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="is not there"):
        read_back(tmp_path / "none.img")
    with pytest.raises(UsageError, match="is a device"):
        read_back(Path("/dev/null"))
    with pytest.raises(EdgeNodeError, match="cannot be read"):
        image_disk.partitions(tmp_path / "none.img")
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(EdgeNodeError, match="apt-get install mtools"):
        read_back(tmp_path / "none.img")


def test_a_truncated_image_is_left_alone(tmp_path: Path) -> None:
    image = make(tmp_path)
    with image.open("r+b") as file:
        file.truncate(image.stat().st_size - 1)
    before = digest(image)
    with pytest.raises(EdgeNodeError, match=r"cut short, \d+ of \d+ bytes"):
        put(folder(tmp_path), image)
    assert digest(image) == before


def test_a_full_partition_is_left_alone(tmp_path: Path) -> None:
    image, place, big = make(tmp_path), folder(tmp_path), tmp_path / "edge-node_0_all.deb"
    big.write_bytes(bytes(5 * MIB))
    before = digest(image)
    with pytest.raises(EdgeNodeError, match=r"os\.img has no room for 5\d{3} KiB"):
        put(place, image, big)
    assert digest(image) == before
    big.write_bytes(bytes(4 * MIB))
    put(place, image, big)
    put(place, image, big)  # what is there already needs no room again


@pytest.mark.parametrize("step", ["put", "make_folder", "remove", "rename"])
def test_a_failure_at_any_step_changes_nothing(step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image, place = make(tmp_path), folder(tmp_path)
    theirs = tmp_path / "theirs"
    theirs.write_text("echo theirs\n")
    boot_partition(image).put(theirs, "firstrun.sh")
    before = digest(image)

    def fail(self: object, *_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if step == "rename":  # of the image; the folder that stands for its partition has another kind of disk
            patch.setattr(image_card, "Disk", type("FullDisk", (Disk,), {"rename": fail}))
        else:
            patch.setattr(Fat, step, fail)
        with pytest.raises(EdgeNodeError, match="No space left"):
            put(place, image, force=True)
    assert digest(image) == before and [path.name for path in tmp_path.glob(".*")] == []
    put(place, image, force=True)
    assert read_back(image).id == "gate-1"


def test_what_was_not_kept_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = make(tmp_path)
    before = digest(image)
    monkeypatch.setattr(Fat, "put", lambda *_: None)
    with pytest.raises(EdgeNodeError, match="did not keep what was written"):
        put(folder(tmp_path), image)
    assert digest(image) == before
