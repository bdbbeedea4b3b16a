"""A release in one file: wheels, their hashes, a signature over all of it.

A tar without compression (wheels are compressed) whose first two members are `manifest.json` and `manifest.sig`, the
Ed25519 signature (RFC 8032) of the manifest's bytes. Signatures are made and checked by the program openssl, which
every Debian has: the standard library has none.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edge_node.errors import EdgeNodeError
from edge_node.update.commands import scratch
from edge_node.update.members import Damaged, Member, Members
from edge_node.update.records import comparable

FORMAT = 1
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
MAX_MANIFEST_BYTES = 1 << 20
MAX_BUNDLE_BYTES = 1 << 30
OPENSSL_DEADLINE_S = 30.0


class BundleRefused(EdgeNodeError):
    """The bundle is not installed; its text says why."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says about itself.

    `arch` as `uname -m` (`x86_64`, `aarch64`) or `any`; `python` as `3.11`; `floor` is the lowest version that may be
    installed once this one has proved itself; `files` maps names to SHA-256; `preflight` are the words after the new
    slot's `python`, each must succeed, `{settings}` stands for the settings file.
    """

    version: str
    arch: str
    python: str
    floor: str
    files: Mapping[str, str]
    preflight: Sequence[Sequence[str]] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT, "version": self.version, "arch": self.arch, "python": self.python, "floor": self.floor,
            "files": dict(self.files), "preflight": [list(words) for words in self.preflight],
        }  # fmt: skip


def version_key(version: str) -> tuple[int, ...]:
    """For comparing. Raises BundleRefused for what is no version like 1.2.3."""
    key = comparable(version)
    if key is None:
        raise BundleRefused(f"{version[:40]!r} is no version: a bundle has one like 1.2.3")
    return key


def read_manifest(data: bytes) -> Manifest:
    """Raises BundleRefused."""
    try:
        value = json.loads(data)
        if value["format"] != FORMAT:
            raise BundleRefused(f"the bundle has format {value['format']!r}: this edge-node reads {FORMAT}")
        texts = {key: value[key] for key in ("version", "arch", "python", "floor")}
        files, preflight = dict(value["files"]), [list(words) for words in value["preflight"]]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BundleRefused("the bundle's manifest cannot be read: get the bundle again") from None
    words = [word for command in preflight for word in command]
    if not all(isinstance(text, str) for text in [*texts.values(), *files, *files.values(), *words]):
        raise BundleRefused("the bundle's manifest cannot be read: get the bundle again")
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or name != str(path) or name in (MANIFEST, SIGNATURE, "."):
            raise BundleRefused(f"the bundle names the file {name[:80]!r}: it is not one of ours")
    version_key(texts["floor"])
    if version_key(texts["version"]) < version_key(texts["floor"]):
        raise BundleRefused("the bundle's version is below its own floor: it was packed wrongly")
    return Manifest(**texts, files=files, preflight=preflight)


class Bundle:
    """An opened bundle whose signature is right; close it, or use it in a with statement."""

    def __init__(self, path: Path, trusted: Iterable[Path]) -> None:
        """Raises BundleRefused. `trusted`: the public keys (PEM), any of which may have signed."""
        try:
            about = path.stat()
            if not stat.S_ISREG(about.st_mode):
                raise BundleRefused(f"{path.name} is no file: name the bundle itself")
            if about.st_size > MAX_BUNDLE_BYTES:
                raise BundleRefused(f"{path.name} has more than {MAX_BUNDLE_BYTES >> 20} MiB: it is no bundle of ours")
            self._file = path.open("rb")
        except OSError as err:
            raise BundleRefused(f"{path.name} cannot be read ({err.strerror}): get the bundle again") from None
        try:
            self._members = Members(self._file, about.st_size)
            data = self._text(MANIFEST)
            _check_signature(data, self._text(SIGNATURE), list(trusted))
            self.manifest = read_manifest(data)
        except BaseException:
            self._file.close()
            raise
        self.data = data
        """The manifest's bytes, as signed."""

    def __enter__(self) -> Bundle:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _text(self, name: str) -> bytes:
        with _told():
            member = self._members.next()
            if member is None or member.name != name or member.size > MAX_MANIFEST_BYTES:
                raise BundleRefused("this is no edge-node bundle: its manifest or signature is missing")
            return b"".join(self._members.blocks(member))

    def unpack(self, folder: Path) -> None:
        """Writes the files named in the manifest. Raises BundleRefused for a missing, foreign or altered one, OSError
        for a disk that does not take them."""
        missing = dict(self.manifest.files)
        while (member := self._next()) is not None:
            wanted = missing.pop(member.name, None)
            if wanted is None:
                raise BundleRefused(f"the bundle holds {member.name[:80]!r}, which its manifest does not name")
            target = folder / member.name
            target.parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with target.open("wb") as file, _told():
                for block in self._members.blocks(member):
                    digest.update(block)
                    file.write(block)
            if digest.hexdigest() != wanted:
                raise BundleRefused(f"{member.name} in the bundle is not what was signed: get the bundle again")
        if missing:
            raise BundleRefused(f"the bundle lacks {min(missing)}: get it again")

    def _next(self) -> Member | None:
        with _told():
            return self._members.next()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except Damaged as err:
        raise BundleRefused(f"the bundle is damaged ({err}): get the bundle again") from None


def _check_signature(data: bytes, signature: bytes, trusted: Sequence[Path]) -> None:
    if not trusted:
        raise BundleRefused("no key is trusted here: put the publisher's .pem into /etc/edge-node/trust")
    with scratch() as folder:
        signed, sig = folder / "data", folder / "sig"
        signed.write_bytes(data)
        sig.write_bytes(signature)
        for key in trusted:
            words = ["-verify", "-pubin", "-inkey", str(key), "-rawin", "-in", str(signed), "-sigfile", str(sig)]
            if _openssl("pkeyutl", *words).returncode == 0:
                return
    raise BundleRefused("the bundle is signed by nobody trusted here, or was altered: get it from its publisher")


def _openssl(*words: str) -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("openssl")
    if program is None:
        raise EdgeNodeError("the program openssl is missing: install it with apt-get install openssl")
    try:
        return subprocess.run([program, *words], capture_output=True, timeout=OPENSSL_DEADLINE_S, check=False)
    except subprocess.TimeoutExpired:
        raise EdgeNodeError(f"openssl did not answer within {OPENSSL_DEADLINE_S:g} s: try again") from None


# The publisher's side


def pack(out: Path, manifest: Manifest, folder: Path, key: Path) -> None:
    """Writes a bundle of the manifest's files, found under `folder`; the same input gives the same bytes."""
    data = json.dumps(manifest.to_json(), sort_keys=True, indent=1).encode()
    with tempfile.TemporaryDirectory(prefix="edge-node-") as scratch:
        signed, sig = Path(scratch, "data"), Path(scratch, "sig")
        signed.write_bytes(data)
        done = _openssl("pkeyutl", "-sign", "-inkey", str(key), "-rawin", "-in", str(signed), "-out", str(sig))
        if done.returncode:
            raise EdgeNodeError(f"the bundle could not be signed: {done.stderr.decode(errors='replace').strip()}")
        signature = sig.read_bytes()
    aside = out.with_name(f".{out.name}.part")
    # Not ustar: wheels for several platforms have names beyond its 100 characters.
    with tarfile.open(aside, "w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in ((MANIFEST, data), (SIGNATURE, signature)):
            tar.addfile(_member_info(name, len(content)), io.BytesIO(content))
        for name in sorted(manifest.files):
            with (folder / name).open("rb") as file:
                tar.addfile(_member_info(name, (folder / name).stat().st_size), file)
    aside.replace(out)


def _member_info(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file under a folder, by its name there."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
