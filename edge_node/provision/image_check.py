"""Looks into an image as its maker would: partitions, file systems, what has to be in them."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_node.errors import EdgeNodeError
from edge_node.provision import image_disk
from edge_node.provision.image_disk import Ext4, Fat, Partition

FIRMWARE = ("bootcode.bin", "start.elf", "start4.elf", "fixup.dat", "fixup4.dat", "config.txt", "cmdline.txt")
BOARDS = ("bcm2837-rpi-3-b.dtb", "bcm2837-rpi-zero-2-w.dtb", "bcm2711-rpi-4-b.dtb", "bcm2712-rpi-5-b.dtb")
SYSTEM = (
    "/usr/lib/systemd/systemd",
    "/opt/edge-node/current",
    "/opt/edge-node/slots/a/venv/bin/edge-node",
    "/usr/lib/systemd/system/edge-node.service",
    "/usr/share/edge-node/trust/release.pem",
    "/etc/systemd/system/multi-user.target.wants/edge-node.service",
    "/etc/systemd/system/multi-user.target.wants/edge-node-firstboot.service",
    "/usr/local/lib/python3.13/dist-packages/lgpio.py",
    "/usr/lib/udev/rules.d/60-edge-node-gpio.rules",
)
SECRETS = ("/etc/edge-node/edge-node.toml", "/var/lib/edge-node/identity.key", "/etc/ssh/ssh_host_ed25519_key")
"""What must not be the same on every card."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    ok: bool
    text: str


def verify(image: Path) -> list[Finding]:
    """Everything that was looked at. Raises EdgeNodeError when the file cannot be looked at."""
    image_disk.need(image_disk.TOOLS)
    if not image.is_file():
        raise EdgeNodeError(f"there is no file {image}: make one with edge-node image build --out {image}")
    parts = image_disk.partitions(image)
    found = list(_table(image, parts))
    if not all(finding.ok for finding in found):
        return found
    found += _boot(image, parts[0])
    sound = [_sound(f"partition {part.number} (ext4)", Ext4(image, part)) for part in parts[1:]]
    found += sound
    return [*found, *_contents(image, parts)] if all(finding.ok for finding in sound) else found


def _table(image: Path, parts: list[Partition]) -> Iterator[Finding]:
    kinds = [part.kind for part in parts]
    yield Finding(
        kinds in ([image_disk.FAT, image_disk.LINUX], [image_disk.FAT, image_disk.LINUX, image_disk.LINUX]),
        f"partitions: {', '.join(f'{part.number} type {part.kind} {part.size >> 20} MiB' for part in parts)}",
    )
    ends = max((part.start + part.size for part in parts), default=0)
    yield Finding(ends <= image.stat().st_size, f"the file holds all of them ({image.stat().st_size >> 20} MiB)")
    yield Finding(all(part.start % image_disk.MIB == 0 for part in parts), "they begin at whole MiB")


def _sound(name: str, system: Ext4) -> Finding:
    try:
        system.check()
    except EdgeNodeError as err:
        return Finding(False, f"{name}: {err}")
    return Finding(True, f"{name}: its file system is sound")


def _boot(image: Path, part: Partition) -> Iterator[Finding]:
    with tempfile.TemporaryDirectory(prefix="edge-node-") as folder:
        fat = Path(folder, "boot")
        with image.open("rb") as read, fat.open("wb") as out:
            read.seek(part.start)
            for _ in range(part.size // image_disk.MIB):
                out.write(read.read(image_disk.MIB))
        try:
            image_disk.run(["fsck.vfat", "-n", str(fat)])
        except EdgeNodeError as err:
            yield Finding(False, f"partition 1 (FAT): {err}")
        else:
            yield Finding(True, "partition 1 (FAT): its file system is sound")
    names = Fat(image, part).names()
    missing = [name for name in (*FIRMWARE, *BOARDS) if name not in names]
    yield Finding(not missing, f"boot: {f'lacks {missing}' if missing else 'firmware and device trees are there'}")


def _contents(image: Path, parts: list[Partition]) -> Iterator[Finding]:
    boot, root = Fat(image, parts[0]), Ext4(image, parts[1])
    data = Ext4(image, parts[2]) if len(parts) == 3 else root
    names, config, words = boot.names(), boot.text("config.txt"), boot.text("cmdline.txt").split()
    kernel, initial = (_setting(config, key) for key in (r"kernel=(\S+)", r"initramfs (\S+)"))
    yield Finding(kernel in names and initial in names, f"boot: config.txt starts {kernel} with {initial}")
    version = kernel.removeprefix("vmlinuz-")
    yield Finding(root.exists(f"/usr/lib/modules/{version}/modules.dep"), f"root: has the modules of {version}")
    yield Finding(f"root=LABEL={image_disk.ROOT_LABEL}" in words, f"boot: cmdline.txt says {' '.join(words)}")
    overlay = "edge_node.overlay" in words
    yield Finding(overlay == (len(parts) == 3), f"root is {'only read' if overlay else 'written'}")
    if overlay:
        volatile = image_disk.VOLATILE_JOURNAL
        yield Finding(root.exists(volatile), "root: the journal, which is in memory then, has the limit for that")
    for path in SYSTEM:
        kept = any(path.startswith(f"/{folder}/") for folder in image_disk.STATE_FOLDERS)
        yield Finding((data if kept else root).exists(path), f"{'state' if overlay and kept else 'root'}: {path}")
    for path in SECRETS:
        yield Finding(
            not root.exists(path) and not data.exists(path), f"root: no {path}, as every card would have the same"
        )
    yield Finding(root.text("/etc/machine-id").strip() in ("", "uninitialized"), "root: each machine gets its own id")
    yield Finding("root:*:" in root.text("/etc/shadow"), "root: nobody can log in with a password")


def _setting(text: str, pattern: str) -> str:
    found = re.search(rf"^{pattern}$", text, re.MULTILINE)
    return found[1] if found else "nothing"


def as_json(findings: list[Finding]) -> str:
    return json.dumps([{"ok": finding.ok, "text": finding.text} for finding in findings])
