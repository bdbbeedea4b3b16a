"""A card's image as a file: partitions and file systems, made and looked at without loop devices or mounting."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge_node.errors import EdgeNodeError

MIB = 1 << 20
SECTOR = 512
FIRST_MIB = 1
BOOT_MIB = 512
"""Two kernels of about 38 MB, their initial file systems of about 36 MB each, the firmware of about 25 MB."""
STATE_MIB = 1024
"""Two slots of about 300 MB; the first start lets it grow over the rest of the card."""
BOOT_LABEL, ROOT_LABEL, STATE_LABEL = "bootfs", "edge-node", "edge-state"
STATE_FOLDERS = (
    "etc/edge-node",
    "etc/NetworkManager/system-connections",
    "opt/edge-node",
    "var/lib/edge-node",
    "var/lib/edge-node-image",
    "var/lib/systemd",
)
"""What a card whose root is only read must remember: lies on the state partition under the same names."""
VOLATILE_JOURNAL = "/etc/systemd/journald.conf.d/60-edge-node-volatile.conf"
FAT, LINUX = "c", "83"
FILE_TIME = "1767225600"
"""2026-01-01: the time of what is put into a boot partition."""
STEP_DEADLINE_S = 1800.0
TOOLS: Mapping[str, str] = {
    "sfdisk": "fdisk", "mke2fs": "e2fsprogs", "e2fsck": "e2fsprogs", "debugfs": "e2fsprogs", "mkfs.vfat": "dosfstools",
    "fsck.vfat": "dosfstools", "mcopy": "mtools", "mdir": "mtools",
}  # fmt: skip
"""Programs and the packages of Debian that have them."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition; `start` and `size` in bytes."""

    number: int
    kind: str
    start: int
    size: int
    bootable: bool = False


def layout(size_mib: int, *, state: bool) -> list[Partition]:
    """Boot, root and, when asked for, state at the end. Raises EdgeNodeError when the image is too small."""
    root_start = FIRST_MIB + BOOT_MIB
    root_size = size_mib - root_start - (STATE_MIB if state else 0)
    if root_size < 1024:
        raise EdgeNodeError(f"{size_mib} MiB are too few for the system: give --size 4G")
    parts = [
        Partition(1, FAT, FIRST_MIB * MIB, BOOT_MIB * MIB, bootable=True),
        Partition(2, LINUX, root_start * MIB, root_size * MIB),
    ]
    if state:
        parts.append(Partition(3, LINUX, (root_start + root_size) * MIB, STATE_MIB * MIB))
    return parts


def need(tools: Mapping[str, str]) -> None:
    """Raises EdgeNodeError with the line that installs what is missing."""
    missing = sorted({package for tool, package in tools.items() if shutil.which(tool, path=_path()) is None})
    if missing:
        raise EdgeNodeError(f"programs are missing: apt-get install {' '.join(missing)}")


def run(
    words: Sequence[str],
    *,
    given: str | None = None,
    deadline_s: float = STEP_DEADLINE_S,
    env: Mapping[str, str] | None = None,
) -> str:
    """What a program prints. Raises EdgeNodeError with the end of its complaint."""
    try:
        done = subprocess.run(
            words,
            input=given,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=deadline_s,
            check=False,
            env={**os.environ, "PATH": _path(), "LC_ALL": "C", "MTOOLS_SKIP_CHECK": "1", **(env or {})},
        )
    except subprocess.TimeoutExpired:
        raise EdgeNodeError(f"{words[0]} did not end within {deadline_s:g} s: try again") from None
    if done.returncode:
        said = " / ".join((done.stdout + done.stderr).strip().splitlines()[-5:])
        raise EdgeNodeError(f"{' '.join(words[:4])} failed: {said or done.returncode}")
    return done.stdout


def _path() -> str:
    return f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"


def write(image: Path, size_mib: int, boot: Path, root: Path, state: Path | None) -> None:
    """Makes the image from three folders; what was at its place before is replaced at the end."""
    aside = image.with_name(f".{image.name}.part")
    fat = image.with_name(f".{image.name}.boot")
    parts = layout(size_mib, state=state is not None)
    try:
        aside.unlink(missing_ok=True)
        with aside.open("wb") as file:
            file.truncate(size_mib * MIB)
        run(["sfdisk", "--quiet", str(aside)], given=_table(parts))
        fat.unlink(missing_ok=True)
        run(["mkfs.vfat", "-F", "32", "-n", BOOT_LABEL, "-C", str(fat), str(parts[0].size // 1024)])
        run(["mcopy", "-s", "-i", str(fat), *map(str, sorted(boot.iterdir())), "::"])
        _copy_into(fat, aside, parts[0])
        _ext4(aside, parts[1], ROOT_LABEL, root)
        if state is not None:
            _ext4(aside, parts[2], STATE_LABEL, state)
        aside.replace(image)
    finally:
        aside.unlink(missing_ok=True)
        fat.unlink(missing_ok=True)


def _table(parts: Sequence[Partition]) -> str:
    lines = ["label: dos", "label-id: 0xed9e0de1"]
    for part in parts:
        line = f"start={part.start // SECTOR}, size={part.size // SECTOR}, type={part.kind}"
        lines.append(line + (", bootable" if part.bootable else ""))
    return "\n".join(lines) + "\n"


def _copy_into(source: Path, image: Path, part: Partition) -> None:
    with source.open("rb") as read, image.open("r+b") as out:
        out.seek(part.start)
        copy_sparse(read, out)


def copy_sparse(read: BinaryIO, out: BinaryIO) -> None:
    """Everything from here on; zeros become holes, also at the end, where the caller sets the length."""
    zeros = bytes(MIB)
    while block := read.read(MIB):
        if block == zeros:
            out.seek(MIB, os.SEEK_CUR)
        else:
            out.write(block)


def _ext4(image: Path, part: Partition, label: str, folder: Path) -> None:
    words = ["mke2fs", "-q", "-F", "-t", "ext4", "-L", label, "-d", str(folder), "-E", f"offset={part.start}"]
    run([*words, str(image), f"{part.size // 1024}k"])


def partitions(image: Path) -> list[Partition]:
    """What the image's table says: four entries of 16 bytes (MBR). Raises EdgeNodeError."""
    try:
        with image.open("rb") as file:
            sector = file.read(SECTOR)
    except OSError as err:
        raise EdgeNodeError(f"{image} cannot be read ({err.strerror}): name a card's image") from None
    if sector[510:] != b"\x55\xaa":
        raise EdgeNodeError(f"{image} has no partition table: it is no card's image, or only a piece of one")
    found = []
    for number, at in enumerate(range(446, 510, 16), 1):
        status, kind, start, size = struct.unpack("<B3xB3xII", sector[at : at + 16])
        if kind:
            found.append(Partition(number, f"{kind:x}", start * SECTOR, size * SECTOR, status == 0x80))
    return found


class Fat:
    """The boot partition of an image, through mtools."""

    def __init__(self, image: Path, part: Partition) -> None:
        self._at = f"{image}@@{part.start}"

    def names(self) -> set[str]:
        """Of the files in its top folder."""
        listing = self._run("mdir", "-b", more=("::/",))
        return {line.removeprefix("::/").rstrip("/") for line in listing.splitlines()}

    def free_bytes(self) -> int:
        """The last line of a listing: "8 351 744 bytes free"."""
        last = self._run("mdir", more=("::/",)).strip().splitlines()[-1]
        return int("".join(filter(str.isdigit, last)))

    def text(self, name: str) -> str:
        return self._run("mtype", more=(f"::/{name}",))

    def fetch(self, name: str, target: Path) -> None:
        """Copies one file, or one folder with all in it, out of the image."""
        self._run("mcopy", "-s", "-n", "-o", more=(f"::/{name}", str(target)))

    def put(self, source: Path, name: str) -> None:
        """Copies one file into the image, in place of what is there."""
        self._run("mcopy", "-o", more=(str(source), f"::/{name}"))

    def remove(self, name: str) -> None:
        self._run("mdel", more=(f"::/{name}",))

    def make_folder(self, name: str) -> None:
        self._run("mmd", more=(f"::/{name}",))

    def _run(self, tool: str, *options: str, more: Sequence[str]) -> str:
        """The same files give the same bytes: mtools takes the time of this variable for that of now."""
        return run([tool, *options, "-i", self._at, *more], env={"SOURCE_DATE_EPOCH": FILE_TIME, "TZ": "UTC"})


class Ext4:
    """A Linux partition of an image, through e2fsprogs."""

    def __init__(self, image: Path, part: Partition) -> None:
        self._at = f"{image}?offset={part.start}"

    def check(self) -> None:
        """Reads everything, changes nothing. Raises EdgeNodeError."""
        run(["e2fsck", "-f", "-n", self._at])

    def exists(self, path: str) -> bool:
        said = run(["debugfs", "-R", f"stat {path}", self._at])
        return "Inode:" in said

    def text(self, path: str) -> str:
        """A file's text; empty when it is not there."""
        return run(["debugfs", "-R", f"cat {path}", self._at])
