"""Claims, devices in a file of the hub's own: read, written, made, taken away."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from edge_node.errors import UsageError
from edge_node.hub.config import KeyScope
from edge_node.hub.files import locked, read_model, write_private
from edge_node.hub.session import PREFIX as RESIDENT
from edge_node.protocol.patterns import escape
from edge_node.settings.problems import sentences
from edge_node.settings.section import Identifier, Section

ENROL_FILE = "enrolment.json"
MAX_FILE_BYTES = 16 << 20
MAX_CLAIMS = 5000
MAX_DEVICES = 5000
FORGET_AFTER_S = 90 * 86_400
"""A claim that nobody can use any more is kept this long, so that its second use can be told from a wrong one."""


class Claim(KeyScope):
    """A code that lets one node in once; the code itself is nowhere, only its hash."""

    id: Annotated[str, Field(min_length=8, max_length=32)]
    hash: Annotated[str, Field(pattern="[0-9a-f]{64}")]
    node: Identifier
    created: int = Field(description="unix seconds")
    expires: int = Field(description="unix seconds")
    used: int | None = Field(default=None, description="unix seconds")
    used_by: str = ""


class Device(KeyScope):
    """A node with its own key; `key` is the raw Ed25519 public key in hex (RFC 8032)."""

    node: Identifier
    key: Annotated[str, Field(pattern="[0-9a-f]{64}")]
    enrolled: int = Field(description="unix seconds")
    claim: str
    revoked: int | None = Field(default=None, description="unix seconds")

    @property
    def key_id(self) -> str:
        """What its connections came in with: another key is another credential."""
        return f"device:{self.node}:{self.key[:16]}"


class _Content(Section):
    version: Annotated[int, Field(ge=1, le=1)] = 1
    claims: Annotated[tuple[Claim, ...], Field(max_length=MAX_CLAIMS)] = ()
    devices: Annotated[tuple[Device, ...], Field(max_length=MAX_DEVICES)] = ()


@dataclass(slots=True)
class Register:
    """Everything in the file, to change."""

    claims: dict[str, Claim] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)

    def text(self) -> bytes:
        body: dict[str, Any] = {"version": 1}
        body["claims"] = [claim.model_dump(mode="json") for claim in self.claims.values()]
        body["devices"] = [device.model_dump(mode="json") for device in self.devices.values()]
        return json.dumps(body, indent=1).encode() + b"\n"

    def forget(self, now_wall: float) -> None:
        """Drops claims that ended long ago."""
        old = now_wall - FORGET_AFTER_S
        self.claims = {key: claim for key, claim in self.claims.items() if claim.expires > old}


def read_register(path: Path) -> Register:
    """What is in the file; nothing when there is no file. Raises SettingsError."""
    content = read_model(path, _Content, MAX_FILE_BYTES, "enrol every device again")
    claims = {claim.id: claim for claim in content.claims}
    return Register(claims, {device.node: device for device in content.devices})


@contextmanager
def changing(path: Path) -> Iterator[Register]:
    """The register to change; written back at the end, unless that raises. One process at a time.

    Raises SettingsError.
    """
    with locked(path.parent):
        register = read_register(path)
        before = register.text()
        yield register
        if register.text() != before:
            write_private(path, register.text())


def hashed(code: str) -> str:
    """A code has 192 random bits: a plain hash is enough."""
    return hashlib.sha256(code.encode("utf-8", "replace")).hexdigest()


def claim_id(code: str) -> str:
    """The part of a code that may be shown."""
    return code.partition(".")[0].removeprefix("claim-")


def new_claim(
    now_wall: float, node: str, *, hours: float, channels: Sequence[str] = (), permissions: Sequence[str] = ()
) -> tuple[Claim, str]:
    """A claim with its code, which exists from now on only in the caller's hands. Raises UsageError."""
    if node.startswith(RESIDENT):
        raise UsageError(f"{node} would pass for a person: choose an id that does not start with {RESIDENT}")
    shown = secrets.token_hex(6)
    code = f"claim-{shown}.{secrets.token_urlsafe(24)}"
    values: dict[str, Any] = {
        "id": shown,
        "hash": hashed(code),
        "node": node,
        "created": int(now_wall),
        "expires": int(now_wall + hours * 3600),
        "channels": tuple(channels) or ("home/*", f"telemetry/{escape(node)}"),
    }
    values |= {"permissions": tuple(permissions)} if permissions else {}
    try:
        return Claim.model_validate(values), code
    except ValidationError as err:
        raise UsageError("\n".join(sentences(err, Claim))) from None


def add_claims(path: Path, claims: Sequence[Claim], now_wall: float) -> None:
    """Raises UsageError when the file is full."""
    with changing(path) as register:
        register.forget(now_wall)
        if len(register.claims) + len(claims) > MAX_CLAIMS:
            raise UsageError(f"{path} may have {MAX_CLAIMS} claims: revoke those that nobody will use")
        register.claims |= {claim.id: claim for claim in claims}


def revoke_claims(path: Path, wanted: str) -> list[Claim]:
    """Takes away the unused claims with this id or for this node. Raises UsageError when there are none."""
    with changing(path) as register:
        found = [c for c in register.claims.values() if wanted in (c.id, c.node) and c.used is None]
        if not found:
            raise UsageError(f'no unused claim in {path} is "{wanted}" or for it: see edge-node hub claim list')
        for claim in found:
            del register.claims[claim.id]
    return found


def revoke_device(path: Path, node: str, now_wall: float) -> Device:
    """A running hub closes its connections within a second or two. Raises UsageError."""
    with changing(path) as register:
        device = register.devices.get(node)
        if device is None or device.revoked is not None:
            raise UsageError(f'no enrolled device in {path} is "{node}": see edge-node hub device list')
        register.devices[node] = gone = device.model_copy(update={"revoked": int(now_wall)})
        # A claim that lies on another card would let it in again.
        register.claims = {k: c for k, c in register.claims.items() if c.node != node or c.used is not None}
    return gone
