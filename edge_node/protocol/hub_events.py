"""What the hub machine is told, what it answers with, what it is limited by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge_node.protocol.codec import encode
from edge_node.protocol.frames import Json, ServerFrame
from edge_node.protocol.grants import Grant
from edge_node.protocol.names import MAX_CHANNELS_PER_CONNECTION, MAX_MESSAGE_BYTES


@dataclass(frozen=True, slots=True)
class HubLimits:
    """Rates count every inbound frame of one connection; times in seconds.

    `leave_grace_s`: how long a peer whose socket broke stays present. `duplicate_peer`: whether a second connection
    of the same peer id joins the first or replaces it. `quota` messages per `period_s`, of all clients together.
    """

    max_message_bytes: int = MAX_MESSAGE_BYTES
    max_channels: int = MAX_CHANNELS_PER_CONNECTION
    max_connections: int = 1000
    rate_per_s: float = 100
    burst: float = 200
    expiry_lead_s: float = 0.25
    leave_grace_s: float = 0
    duplicate_peer: Literal["allow", "replace"] = "allow"
    quota: int | None = None
    period_s: float = 30 * 86_400


# Events


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection with a valid credential; `server_time` in unix seconds, `expires_in_s` from now."""

    conn: int
    grant: Grant
    server_time: int
    expires_in_s: float | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """One message from a connection: str for a text message, bytes for a binary one."""

    conn: int
    data: str | bytes


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The socket is gone, whoever closed it."""

    conn: int


@dataclass(frozen=True, slots=True)
class Inject:
    """A message from the control plane."""

    channel: str
    data: Json
    sender: str
    metadata: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Kick:
    """Close every connection of a peer."""

    peer_id: str


@dataclass(frozen=True, slots=True)
class Revoke:
    """Close every connection that came in with one of these keys."""

    key_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Send everybody away, politely; `spread_s` is how long their return may take (None: by their number)."""

    spread_s: float | None = None


HubEvent = Connected | Received | Disconnected | Inject | Kick | Revoke | Shutdown

# Effects


@dataclass(frozen=True, slots=True)
class SendText:
    """One text message (UTF-8 JSON), serialized once, for several connections."""

    to: tuple[int, ...]
    text: bytes

    @classmethod
    def of(cls, to: tuple[int, ...], frame: ServerFrame) -> SendText:
        """Raises ValueError, TypeError or RecursionError when a client's data cannot be written as JSON."""
        return cls(to, encode(frame).encode())


@dataclass(frozen=True, slots=True)
class Close:
    """Close a connection, after what was sent to it before."""

    conn: int
    code: int
    reason: str


HubEffect = SendText | Close
