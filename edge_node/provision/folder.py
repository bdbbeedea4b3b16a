"""One device's files in a folder laid out as its boot partition."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from edge_node.errors import EdgeNodeError, SettingsError
from edge_node.provision.card import Card, CardClaim, Format
from edge_node.provision.disk import Disk
from edge_node.provision.formats import CLAIM, FOLDER, SETTINGS, cmdline_tokens, render
from edge_node.settings import from_dict
from edge_node.settings.problems import sentences
from edge_node.settings.section import Section

MANIFEST = f"{FOLDER}/manifest.json"
CMDLINE = "cmdline.txt"
MAX_FILE_BYTES = 1 << 20


class Manifest(Section):
    """What was written, for whom, how often it changed."""

    version: Literal[1] = 1
    id: str
    hostname: str
    name: str
    hub: str
    format: Format
    generation: int = Field(ge=1)
    content: str = Field(description="SHA-256 of the files as of generation 0: the same content is the same generation")
    cmdline: tuple[str, ...] = ()
    files: dict[str, str] = Field(description="SHA-256 by path")

    def text(self) -> bytes:
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one folder."""

    folder: Path
    generation: int
    change: Literal["new", "changed", "restored", "same"]


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _content(files: Mapping[str, bytes]) -> str:
    return _sha256(b"".join(f"{name}\0{len(body)}\0".encode() + body for name, body in sorted(files.items())))


def read_manifest(folder: Path) -> Manifest | None:
    """None when there is none. Raises EdgeNodeError when it is spoilt."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise EdgeNodeError(f"{path} is spoilt: remove {folder}, then write it again") from None


def write_folder(card: Card, folder: Path, disk: Disk, *, dry: bool = False) -> Result:
    """Writes what differs, and nothing when nothing does. Raises EdgeNodeError."""
    before = read_manifest(folder)
    content = _content(render(card, 0))
    is_same = before is not None and before.content == content
    generation = 1 if before is None else before.generation + (not is_same)
    files = render(card, generation)
    settings = from_dict(card.settings)
    manifest = Manifest(
        id=card.id,
        hostname=card.hostname,
        name=settings.node.name,
        hub=settings.channel.url,
        format=card.format,
        generation=generation,
        content=content,
        cmdline=tuple(cmdline_tokens(card, generation)),
        files={name: _sha256(body) for name, body in files.items()},
    )
    wanted = {**files, MANIFEST: manifest.text()}
    differing = [name for name, body in wanted.items() if _read(folder / name) != body]
    stale = sorted(before.files.keys() - files.keys()) if before else []
    if not dry:
        _put(folder, wanted, differing, stale, disk)
    change: Literal["new", "changed", "restored", "same"] = "restored" if differing else "same"
    if not is_same:
        change = "new" if before is None else "changed"
    return Result(folder, generation, change)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _put(folder: Path, files: Mapping[str, bytes], differing: list[str], stale: list[str], disk: Disk) -> None:
    """The manifest last: a folder that was cut short is told by its lack of it, or by its hashes."""
    try:
        for place in (folder, folder / FOLDER):
            place.mkdir(mode=0o700, parents=True, exist_ok=True)
            if place.stat().st_mode & 0o077:
                place.chmod(0o700)
        for name in stale:
            disk.remove(folder / name)
        for name in sorted(differing, key=lambda it: it == MANIFEST):
            disk.put(folder / name, files[name])
        for name in files:
            if (folder / name).stat().st_mode & 0o077:
                (folder / name).chmod(0o600)
    except OSError as err:
        raise EdgeNodeError(f"{folder} cannot be written ({err.strerror}): make room, or choose another place") from err


def verify(place: Path) -> Manifest:
    """Reads everything back, in a folder of ours or on a card. Raises EdgeNodeError with the first thing wrong."""
    manifest = read_manifest(place)
    if manifest is None:
        raise EdgeNodeError(f"{place} has no {MANIFEST}: it was not written, or its device has started already")
    for name, expected in manifest.files.items():
        body = _read(place / name)
        if body is None:
            raise EdgeNodeError(f"{place / name} is missing: write it again")
        if _sha256(body) != expected:
            raise EdgeNodeError(f"{place / name} was changed after it was written: write it again")
    settings = from_dict(parse_toml(place / SETTINGS), str(place / SETTINGS))
    if settings.node.id != manifest.id:
        raise EdgeNodeError(f"{place / SETTINGS} is for {settings.node.id}, not for {manifest.id}: write it again")
    if (place / CLAIM).exists():
        read_claim(place / CLAIM)
    line = _read(place / CMDLINE)
    if line is not None:
        missing = [token for token in manifest.cmdline if token not in line.decode("utf-8", "replace").split()]
        if missing or len(line.strip().splitlines()) != 1:
            raise EdgeNodeError(
                f"{place / CMDLINE} is not one line with {' '.join(missing) or 'all in it'}: write again"
            )
    return manifest


def parse_toml(path: Path) -> dict[str, Any]:
    """Raises SettingsError in words for whoever edited it by hand."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES)
        return tomllib.loads(raw.decode("utf-8-sig").replace("\r\n", "\n"))
    except OSError as err:
        raise SettingsError(f"{path} cannot be read ({err.strerror}): write the card again") from None
    except (ValueError, RecursionError) as err:
        raise SettingsError(f"{path} is only half written, or was edited wrongly ({err}): write it again") from None


def read_claim(path: Path) -> CardClaim:
    """Raises SettingsError."""
    try:
        return CardClaim.model_validate(parse_toml(path))
    except ValidationError as err:
        raise SettingsError(sentences(err, CardClaim, str(path))) from None


def write_all(
    cards: list[Card], out: Path, disk: Disk, *, dry: bool, told: Callable[[Result], None]
) -> tuple[int, list[str]]:
    """One folder per card below `out`; how many were written, what went wrong, one sentence per device."""
    done, failed = 0, []
    for card in cards:
        try:
            result = write_folder(card, out / card.id, disk, dry=dry)
            if not dry:
                verify(result.folder)
        except EdgeNodeError as err:
            failed.append(f"{card.id}: {err}")
        else:
            done += 1
            told(result)
    return done, failed
