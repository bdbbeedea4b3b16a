"""Door requests that carry the signature of a device's own key."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from edge_node.call.messages import DoorOpen

Verify = Callable[[str, bytes, str], bool]
"""Whether a signature (hex) of a message was made by the owner of an Ed25519 key (hex)."""
Sign = Callable[[bytes], tuple[str, str] | None]
"""This device's Ed25519 key and its signature of a message, both in hex; None when it has none."""
PURPOSE = "edge-node/door.open/1"
NONCES_PER_KEY = 256


@dataclass(frozen=True, slots=True)
class DoorKey:
    """A device that may sign; `public` is its Ed25519 key in hex, `peers` are patterns of the ids that may use it."""

    name: str
    public: str
    peers: Sequence[str] = ("*",)


@dataclass(frozen=True, slots=True)
class Signing:
    """What requests to a node must be signed with.

    `challenge` is drawn anew at each start: what somebody recorded before is worth nothing, although its nonce is
    forgotten by then.
    """

    node: str
    challenge: str
    keys: Sequence[DoorKey] = ()

    def message(self, request: DoorOpen, peer_id: str) -> bytes:
        """The bytes that are signed: seven lines, the last one the server-stamped id of who asks."""
        at = math.floor(request.at)
        lines = (PURPOSE, self.node, self.challenge, request.door, request.nonce, str(at), peer_id)
        return "\n".join(lines).encode()


@dataclass(slots=True)
class _Used:
    """The requests of one key: when each was made by the sender's clock, and the newest that is no longer known."""

    at: dict[str, float] = field(default_factory=dict)
    forgotten_at: float = float("-inf")


class Signatures:
    """Judges signatures; each request is good once, whoever repeats it under whatever name.

    Overflow rule: a key's oldest request is forgotten first, and requests that are as old are refused from then on.
    """

    def __init__(self, signing: Signing, verify: Verify | None = None) -> None:
        self._signing = signing
        self._verify = verify
        self._keys = {key.public: (key, _Used()) for key in signing.keys}

    def problem(self, request: DoorOpen, peer_id: str) -> str | None:
        """Why the request is not signed as it must be, or None: then it is used up."""
        if request.key is None or request.signature is None:
            return "signature required"
        if request.key not in self._keys:
            return "unknown key"
        key, used = self._keys[request.key]
        if not any(fnmatchcase(peer_id, pattern) for pattern in key.peers):
            return "key of somebody else"
        message = self._signing.message(request, peer_id)
        if self._verify is None or not self._verify(key.public, message, request.signature):
            return "wrong signature"
        if request.nonce in used.at or request.at <= used.forgotten_at:
            return "request already used"
        used.at[request.nonce] = request.at
        if len(used.at) > NONCES_PER_KEY:
            used.forgotten_at = max(used.forgotten_at, used.at.pop(next(iter(used.at))))
        return None
