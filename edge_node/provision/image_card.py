"""A device's folder into the boot partition of an image file, without mounting or root."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from edge_node.errors import EdgeNodeError, SettingsError, UsageError
from edge_node.provision import boot as card_writer
from edge_node.provision.boot import BACKUP, CUSTOM, Plan
from edge_node.provision.disk import Disk, UnsyncedDisk
from edge_node.provision.folder import CMDLINE, Manifest, read_manifest, verify
from edge_node.provision.formats import FOLDER
from edge_node.provision.image_disk import TOOLS, Fat, copy_sparse, need, partitions

FAT_KINDS = ("1", "4", "6", "b", "c", "e")
PACKED: Mapping[bytes, str] = {
    b"\xfd7zXZ\x00": "xz --decompress --keep",
    b"\x1f\x8b": "gunzip --keep",
    b"\x28\xb5\x2f\xfd": "unzstd",
    b"PK\x03\x04": "unzip",
}
"""How a packed file begins, what unpacks it."""
# Whatever else is on the partition is never looked at; these may be ours, or in our way.
_LOOKED_AT = (CMDLINE, "meta-data", *CUSTOM, *(name + BACKUP for name in CUSTOM), FOLDER)


class _PartitionDisk(UnsyncedDisk):
    """The folder beside which has no limit; the partition that it stands for has."""

    def __init__(self, free_bytes: int) -> None:
        self._free_bytes = free_bytes

    def free_bytes(self, folder: Path) -> int:
        return self._free_bytes


def write(folder: Path, image: Path, added: Sequence[Path], out: Path, *, force: bool, dry: bool = False) -> Plan:
    """Makes `out`, which may be `image` itself, by the rules of a mounted card.

    All happens on a copy beside `out`, which takes its place when it was read back: a failure or a power cut changes
    nothing. It has mode 0600, as there is a claim in it. Raises EdgeNodeError, UsageError.
    """
    image, out = image.resolve(), out.resolve()
    with _staged(image) as (boot, free_bytes):
        before = _hashes(boot)
        disk = _PartitionDisk(free_bytes)
        plan = card_writer.plan(folder, boot, added, disk, force=force)
        if out != image and out.exists() and not force:
            _check_replaceable(out, plan.manifest)
        if dry:
            return plan
        card_writer.apply(plan, boot, disk)
        if out != image or _hashes(boot) != before:
            _replace(image, out, boot, before)
    return plan


def read_back(image: Path) -> Manifest:
    """What folder.verify does for a folder or a card. Raises EdgeNodeError, UsageError, SettingsError."""
    with _staged(image) as (boot, _):
        return verify(boot)


def boot_partition(image: Path) -> Fat:
    """The first FAT partition of an unpacked, whole image. Raises EdgeNodeError, UsageError."""
    need({"mcopy": TOOLS["mcopy"]})
    if not image.is_file():
        what = "is a device: write an image there, or mount it and say --boot" if image.exists() else "is not there"
        raise UsageError(f"{image} {what}; --image wants the file of an image")
    with image.open("rb") as file:
        head = file.read(8)
    for magic, command in PACKED.items():
        if head.startswith(magic):
            raise UsageError(f"{image} is packed: unpack it first ({command} {image.name}), then name the .img file")
    parts = partitions(image)
    size, needed = image.stat().st_size, max((part.start + part.size for part in parts), default=0)
    if size < needed:
        raise EdgeNodeError(f"{image} is cut short, {size} of {needed} bytes are there: fetch or unpack it again")
    found = next((part for part in parts if part.kind in FAT_KINDS), None)
    if found is None:
        kinds = ", ".join(part.kind for part in parts) or "none"
        raise EdgeNodeError(f"{image} has no FAT partition to start from (its types are: {kinds}): take another image")
    return Fat(image, found)


@contextmanager
def _staged(image: Path) -> Iterator[tuple[Path, int]]:
    """A private folder with what matters of the boot partition, the partition's free bytes."""
    fat = boot_partition(image)
    with tempfile.TemporaryDirectory(prefix="edge-node-") as work:
        boot = Path(work, "boot")
        boot.mkdir()
        try:
            # FAT's short names come in capitals, as a Windows computer leaves them.
            there = {name.lower(): name for name in fat.names()}
            for name in _LOOKED_AT:
                if name in there:
                    fat.fetch(there[name], boot / name)
            free_bytes = fat.free_bytes()
        except EdgeNodeError as err:
            raise EdgeNodeError(f"{image}: its boot partition cannot be read ({err}): take a fresh image") from None
        try:
            yield boot, free_bytes
        except EdgeNodeError as err:
            raise _as_of(err, str(boot), str(image)) from None


def _as_of(err: EdgeNodeError, boot: str, image: str) -> EdgeNodeError:
    """The error with the name that its reader knows the place by."""
    if isinstance(err, SettingsError):
        return SettingsError([problem.replace(boot, image) for problem in err.problems])
    return type(err)(str(err).replace(boot, image))


def _hashes(boot: Path) -> dict[str, str]:
    files = (path for path in boot.rglob("*") if path.is_file())
    return {str(path.relative_to(boot)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _check_replaceable(out: Path, manifest: Manifest) -> None:
    with _staged(out) as (boot, _):
        there = read_manifest(boot)
    if there is None or there.id != manifest.id:
        raise EdgeNodeError(f"{out} is there already, and not for {manifest.id}: choose another name, or say --force")


def _replace(image: Path, out: Path, boot: Path, before: Mapping[str, str]) -> None:
    aside = out.with_name(f".{out.name}.part")
    try:
        aside.unlink(missing_ok=True)  # of a run that was cut off
        aside.touch(0o600, exist_ok=False)
        with image.open("rb") as read, aside.open("r+b") as copy:
            copy_sparse(read, copy)
            copy.truncate(image.stat().st_size)
        _into(boot_partition(aside), boot, before)
        with _staged(aside) as (again, _):
            if _hashes(again) != _hashes(boot):
                raise EdgeNodeError(f"{out} did not keep what was written to it: check the disk, try again")
            verify(again)
        if os.geteuid() == 0:
            owner = image.stat()
            os.chown(aside, owner.st_uid, owner.st_gid)
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        Disk().rename(aside, out)
    except OSError as err:
        raise EdgeNodeError(f"{out} cannot be written ({err.strerror}): make room for a whole copy beside it") from err
    finally:
        aside.unlink(missing_ok=True)


def _into(fat: Fat, boot: Path, before: Mapping[str, str]) -> None:
    """What was staged in `boot` into the partition, the removed files first: they make room."""
    after = _hashes(boot)
    there = {name.lower(): name for name in fat.names()}
    for name in sorted(before.keys() - after.keys()):
        fat.remove(there.get(name, name))
    if FOLDER not in there:
        fat.make_folder(FOLDER)
    for name in sorted(name for name, digest in after.items() if before.get(name) != digest):
        fat.put(boot / name, there.get(name, name))
