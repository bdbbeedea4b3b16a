"""A device's folder onto a mounted boot partition."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_node.errors import EdgeNodeError, UsageError
from edge_node.provision.disk import Disk
from edge_node.provision.folder import CMDLINE, MANIFEST, Manifest, read_manifest, verify
from edge_node.provision.formats import CLAIM, FOLDER, INSTALL, MARK, WIFI
from edge_node.provision.image_disk import ROOT_LABEL

BACKUP = ".before-edge-node"
SPARE_BYTES = 1 << 20
# meta-data is the image's own and always replaced: pi-gen ships one with a fixed id.
CUSTOM = ("user-data", "network-config", "rpi-preseed.toml", "firstrun.sh")
_ONE_OF_A_KIND = (
    "ds=nocloud",
    "cfg80211.ieee80211_regdom=",
    "systemd.hostname=",
    "systemd.run=",
    "systemd.run_success_action=",
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to be written; `backups` are the card's own files that are kept beside."""

    manifest: Manifest
    files: dict[str, bytes]
    backups: tuple[str, ...]
    added: tuple[Path, ...]


def one_line(text: str, tokens: Sequence[str]) -> str:
    """The kernel's command line with these tokens in place of what it said of the same."""
    kept = text.split()
    replaced = [kind for kind in _ONE_OF_A_KIND if any(token.startswith(kind) for token in tokens)]
    kept = [word for word in kept if not any(word.startswith(kind) for kind in replaced) and word not in tokens]
    return " ".join([*kept, *tokens]) + "\n"


def plan(folder: Path, boot: Path, added: Iterable[Path], disk: Disk, *, force: bool) -> Plan:
    """Reads and checks everything; writes nothing. Raises EdgeNodeError, UsageError."""
    try:
        return _plan(folder, boot, added, disk, force=force)
    except OSError as err:
        raise EdgeNodeError(
            f"{err.filename or boot} cannot be read ({err.strerror}): check that file, and how the card sits"
        ) from None


def _plan(folder: Path, boot: Path, added: Iterable[Path], disk: Disk, *, force: bool) -> Plan:
    manifest = verify(folder)
    line = boot / CMDLINE
    if not line.is_file():
        raise UsageError(f"{boot} is no boot partition of Raspberry Pi OS: it has no {CMDLINE}")
    problems = [*_other_device(boot, manifest), *_other_format(boot, manifest)]
    files = {name: (folder / name).read_bytes() for name in manifest.files}
    foreign = [name for name in CUSTOM if _is_foreign(boot / name)]
    # A customisation of another kind would run as well.
    if foreign:
        problems.append(f"somebody else wrote {', '.join(foreign)} on this card: keep it, or say --force")
    if problems and not force:
        raise EdgeNodeError("; ".join(problems))
    files[MANIFEST] = manifest.text()
    files[CMDLINE] = one_line(line.read_text(errors="replace"), manifest.cmdline).encode()
    found = tuple(added)
    for path in found:
        if not path.is_file():
            raise UsageError(f"{path} is no file: name a package or a bundle with --add")
    size = sum(len(body) for name, body in files.items() if _differs(boot / name, body))
    size += sum(path.stat().st_size for path in found if _differs(boot / FOLDER / path.name, path.read_bytes()))
    if disk.free_bytes(boot) < size + SPARE_BYTES:
        raise EdgeNodeError(f"{boot} has no room for {size >> 10} KiB: remove something, or use a larger card")
    return Plan(manifest, files, tuple(foreign), found)


def apply(plan: Plan, boot: Path, disk: Disk) -> None:
    """Carries it out, the command line last: until then the card starts as it did before. Raises EdgeNodeError."""
    try:
        (boot / FOLDER).mkdir(exist_ok=True)
        for name in plan.backups:
            backup = boot / (name + BACKUP)
            if not backup.exists():
                disk.put(backup, (boot / name).read_bytes(), None)
        for name in (*CUSTOM, CLAIM, INSTALL, WIFI):  # left from another format, or another hub
            if name not in plan.files and (boot / name).exists():
                disk.remove(boot / name)
        for path in plan.added:
            if _differs(boot / FOLDER / path.name, path.read_bytes()):
                disk.put(boot / FOLDER / path.name, path.read_bytes(), None)
        for name in sorted(plan.files, key=lambda it: (it == CMDLINE, it == MANIFEST)):
            if _differs(boot / name, plan.files[name]):
                disk.put(boot / name, plan.files[name], None)
    except OSError as err:
        raise EdgeNodeError(f"{boot} cannot be written ({err.strerror}): is the card locked, full or gone?") from err
    verify(boot)


def _differs(there: Path, body: bytes) -> bool:
    return not there.exists() or there.read_bytes() != body


def _other_device(boot: Path, manifest: Manifest) -> list[str]:
    there = read_manifest(boot)
    if there is None or there.id == manifest.id:
        return []
    return [f"this card is for {there.id}, not {manifest.id}: take another one, or say --force"]


def _other_format(boot: Path, manifest: Manifest) -> list[str]:
    is_own = f"root=LABEL={ROOT_LABEL}" in (boot / CMDLINE).read_text(errors="replace").split()
    if is_own and manifest.format != "edge-node":
        return ['edge-node image build made this image: set format = "edge-node", or say --force']
    if manifest.format == "edge-node" and not is_own:
        return ['edge-node image build did not make this image: set format = "cloud-init", or say --force']
    has_cloud_init = (boot / "user-data").exists() or (boot / "meta-data").exists()
    if manifest.format == "cloud-init" and not has_cloud_init:
        return ['this image has no cloud-init: set format = "firstrun" for Bookworm, or say --force']
    if manifest.format == "firstrun" and has_cloud_init:
        return ['this image has cloud-init, which ignores firstrun.sh: set format = "cloud-init", or say --force']
    return []


def _is_foreign(path: Path) -> bool:
    """True for content that is neither ours nor only comments, as in a fresh image."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return False
    head = "\n".join(text.splitlines()[:3])
    return MARK not in head and bool(re.sub(r"(?m)^\s*#.*$", "", text).strip())
