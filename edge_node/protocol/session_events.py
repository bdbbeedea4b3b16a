"""What the client's session hears and what it has to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from edge_node.errors import MeteredRealtimeError, SignallingConnectError
from edge_node.protocol.backoff import BackoffPolicy
from edge_node.protocol.frames import (
    DirectFrame,
    ErrorFrame,
    GoingAwayFrame,
    MessageFrame,
    PresenceFrame,
    Publish,
    Send,
    Subscribe,
    Unsubscribe,
    Welcome,
)
from edge_node.protocol.names import WsCloseCode

SessionState = Literal["idle", "connecting", "connected", "reconnecting", "closed"]

TERMINAL_CODES: frozenset[int] = frozenset(
    {
        WsCloseCode.INVALID_TOKEN,
        WsCloseCode.CHANNEL_NOT_AUTHORIZED,
        WsCloseCode.ACCOUNT_SUSPENDED,
        WsCloseCode.ADMIN_DISCONNECT,
    }
)


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """What the session does by itself. Times in seconds; inactivity_s <= 0 switches ping and watchdog off.

    `final_codes` are the close codes after which it makes no further attempt.
    """

    reconnect: BackoffPolicy | None = field(default_factory=BackoffPolicy)
    inactivity_s: float = 60.0
    auto_resubscribe: bool = True
    retry_first: bool = False
    final_codes: frozenset[int] = TERMINAL_CODES


# Events


@dataclass(frozen=True, slots=True)
class Connect:
    """The user wants a connection."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The socket is open (no `welcome` yet)."""

    wire: int


@dataclass(frozen=True, slots=True)
class Lost:
    """The socket did not open, or closed; `jitter` is a number drawn from 0..1."""

    wire: int
    code: int
    reason: str = ""
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class TokenFailed:
    """The token provider failed for this attempt."""

    wire: int
    error: Exception
    jitter: float = 0.5


@dataclass(frozen=True, slots=True)
class Received:
    wire: int
    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """A frame of the user's; it carries a request id from `Session.new_id()`."""

    frame: Subscribe | Unsubscribe | Publish | Send


@dataclass(frozen=True, slots=True)
class Close:
    code: int = 1000
    reason: str = ""


SessionEvent = Connect | Opened | Lost | TokenFailed | Received | Request | Close


# Effects


@dataclass(frozen=True, slots=True)
class OpenSocket:
    wire: int


@dataclass(frozen=True, slots=True)
class SendText:
    text: str


@dataclass(frozen=True, slots=True)
class CloseSocket:
    wire: int
    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Resolved:
    request_id: str


@dataclass(frozen=True, slots=True)
class Rejected:
    request_id: str
    error: MeteredRealtimeError


@dataclass(frozen=True, slots=True)
class StateChanged:
    from_: SessionState
    to: SessionState


@dataclass(frozen=True, slots=True)
class Welcomed:
    welcome: Welcome
    is_reconnect: bool


@dataclass(frozen=True, slots=True)
class Dropped:
    code: int
    reason: str
    will_reconnect: bool


@dataclass(frozen=True, slots=True)
class ConnectFailed:
    """The first connection was given up."""

    error: SignallingConnectError


@dataclass(frozen=True, slots=True)
class TokenTrouble:
    failures: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Delivered:
    """A frame for the user."""

    frame: MessageFrame | DirectFrame | PresenceFrame | ErrorFrame | GoingAwayFrame


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something was received that cannot be used; for the log."""

    reason: str


Effect = (
    OpenSocket
    | SendText
    | CloseSocket
    | Resolved
    | Rejected
    | StateChanged
    | Welcomed
    | Dropped
    | ConnectFailed
    | TokenTrouble
    | Delivered
    | Skipped
)
