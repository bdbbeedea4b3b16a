"""Keys in a file of the hub's own: read, written, made, taken away."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from edge_node.errors import UsageError
from edge_node.hub.config import MAX_KEYS, KeyScope, SigningSecret
from edge_node.hub.files import locked, read_model, write_private
from edge_node.settings.problems import sentences
from edge_node.settings.section import Section

MAX_FILE_BYTES = 1 << 20
SHOWN_CHARS = 14
"""As much of an id as a list shows: enough to tell keys apart, too little to come in with."""


class StoredKey(KeyScope):
    """One key; with `secret` it is a pair that signs tokens, without it its id is its credential."""

    id: Annotated[str, Field(min_length=8, max_length=128)]
    secret: SigningSecret | None = None
    name: Annotated[str, Field(max_length=80)] = ""
    allowed_origins: tuple[str, ...] = ()
    created: int = Field(default=0, description="unix seconds")

    @property
    def shown(self) -> str:
        """The id as it may be shown: of a publishable key only its start."""
        return self.id if self.secret else f"{self.id[:SHOWN_CHARS]}…"

    def as_json(self) -> dict[str, Any]:
        body = self.model_dump(mode="json", exclude={"secret"})
        return body | ({"secret": self.secret.get_secret_value()} if self.secret else {})


class _Content(Section):
    version: Annotated[int, Field(ge=1, le=1)] = 1
    keys: tuple[StoredKey, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> _Content:
        if len(self.keys) > MAX_KEYS:
            raise ValueError(f"has {len(self.keys)} keys and may have {MAX_KEYS}: revoke some")
        if len({key.id for key in self.keys}) < len(self.keys):
            raise ValueError("has two keys with the same id: remove one")
        return self


def read_keys(path: Path) -> tuple[StoredKey, ...]:
    """The keys in the file; none when there is no file. Raises SettingsError."""
    return read_model(path, _Content, MAX_FILE_BYTES, "make new keys").keys


@contextmanager
def changing(path: Path) -> Iterator[list[StoredKey]]:
    """The keys as a list to change; written back at the end. One process at a time. Raises SettingsError."""
    with locked(path.parent):
        keys = list(read_keys(path))
        yield keys
        write_private(path, _text(keys))


def _text(keys: Sequence[StoredKey]) -> bytes:
    body = {"version": 1, "keys": [key.as_json() for key in keys]}
    return json.dumps(body, indent=1, ensure_ascii=False).encode() + b"\n"


def new_key(
    now_wall: float, *, secret: bool, channels: Sequence[str], permissions: Sequence[str], name: str
) -> StoredKey:
    """A key with fresh random parts. Raises UsageError for a pattern, permission or name that is none."""
    values: dict[str, Any] = {"name": name, "created": int(now_wall)}
    values |= {"channels": channels} if channels else {}
    values |= {"permissions": permissions} if permissions else {}
    if secret:
        values |= {"id": f"sk_id_{secrets.token_hex(8)}", "secret": f"sk_secret_{secrets.token_urlsafe(32)}"}
    else:
        values |= {"id": f"pk_live_{secrets.token_urlsafe(24)}"}
    try:
        return StoredKey.model_validate(values)
    except ValidationError as err:
        raise UsageError("\n".join(sentences(err, StoredKey))) from None


def add_key(path: Path, key: StoredKey) -> None:
    """Raises UsageError when the file is full."""
    with changing(path) as keys:
        if len(keys) >= MAX_KEYS:
            raise UsageError(f"{path} has {MAX_KEYS} keys, which is the most: revoke one first")
        keys.append(key)


def revoke_key(path: Path, wanted: str) -> StoredKey:
    """Takes away the one key with this id, start of an id (8 characters or more) or name. Raises UsageError."""
    wanted = wanted.removesuffix("…")
    with changing(path) as keys:
        found = [key for key in keys if key.id == wanted] or [
            key for key in keys if (len(wanted) >= 8 and key.id.startswith(wanted)) or (key.name and key.name == wanted)
        ]
        if len(found) != 1:
            count = "no key" if not found else f"{len(found)} keys"
            raise UsageError(f"{count} in {path} fit that: see edge-node hub key list")
        keys.remove(found[0])
    return found[0]
