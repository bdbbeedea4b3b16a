"""The frames of the wire protocol as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

Json = Any
"""Any JSON value: None, bool, int, float, str, list or dict of these."""


class Missing:
    """The type of MISSING: a key that is absent, as opposed to null."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()


# Client to server


@dataclass(frozen=True, slots=True)
class Subscribe:
    channel: str
    request_id: str | None = None
    include_sender_metadata: bool = False


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    channel: str
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Publish:
    channel: str
    data: Json | Missing
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    to: str
    data: Json | Missing
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    request_id: str | None = None


# Server to client


@dataclass(frozen=True, slots=True)
class PresencePeer:
    """One member of a channel, with the metadata of its token."""

    peer_id: str
    metadata: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Welcome:
    """`expires_at` and `server_time` in unix seconds, `max_message_size` in bytes."""

    peer_id: str
    expires_at: int | None
    server_time: int
    max_message_size: int
    metadata: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Ack:
    request_id: str


@dataclass(frozen=True, slots=True)
class ErrorFrame:
    code: str
    request_id: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class MessageFrame:
    channel: str
    sender: str
    data: Json
    sender_metadata: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class DirectFrame:
    sender: str
    data: Json
    sender_metadata: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class PresenceFrame:
    channel: str
    joined: tuple[PresencePeer, ...] = ()
    left: tuple[PresencePeer, ...] = ()


@dataclass(frozen=True, slots=True)
class GoingAwayFrame:
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class Pong:
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """What could not be understood; `code` is the error code a server answers with."""

    reason: str
    code: str = "malformed_message"
    request_id: str | None = None


ClientFrame = Subscribe | Unsubscribe | Publish | Send | Ping
ServerFrame = Welcome | Ack | ErrorFrame | MessageFrame | DirectFrame | PresenceFrame | GoingAwayFrame | Pong
