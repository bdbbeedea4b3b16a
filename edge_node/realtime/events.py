"""What the clients tell: frozen values, registered for by their exact class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edge_node.protocol.frames import PresencePeer
from edge_node.protocol.payloads import IceServerConfig
from edge_node.protocol.session_events import SessionState as SignallingClientState
from edge_node.realtime.streams import MediaStream, StreamMetadata

if TYPE_CHECKING:
    from edge_node.realtime.remote import RemotePeer

MeteredPeerState = Literal["idle", "joining", "joined", "reconnecting", "leaving", "closed"]
PeerConnectionState = Literal["idle", "connecting", "connected", "reconnecting", "closed"]

__all__ = [
    "Connected",
    "ConnectionReset",
    "DCClose",
    "DCError",
    "DCMessage",
    "DCOpen",
    "Data",
    "DataChannelOpened",
    "Direct",
    "Disconnected",
    "Event",
    "FatalError",
    "GoingAway",
    "IceCandidateError",
    "IceServerConfig",
    "Joined",
    "Left",
    "Message",
    "MetadataChanged",
    "MeteredPeerState",
    "NegotiationError",
    "PeerConnectionState",
    "PeerJoined",
    "PeerLeft",
    "Presence",
    "PresencePeer",
    "ServerError",
    "SignallingClientState",
    "StateChange",
    "StreamAdded",
    "StreamRemoved",
    "TokenProviderError",
    "Track",
]


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, slots=True)
class StateChange(Event):
    """A state machine moved; the values are those of the emitter's `state`."""

    from_: str
    to: str


# SignallingClient


@dataclass(frozen=True, slots=True)
class Connected(Event):
    """`server_time` and `expires_at` in unix seconds, `max_message_size` in bytes."""

    peer_id: str
    server_time: int
    expires_at: int | None
    is_reconnect: bool
    max_message_size: int
    ice_servers: tuple[IceServerConfig, ...] | None = None


@dataclass(frozen=True, slots=True)
class Disconnected(Event):
    code: int
    reason: str
    will_reconnect: bool


@dataclass(frozen=True, slots=True)
class Message(Event):
    """A broadcast on a subscribed channel."""

    channel: str
    sender_peer_id: str
    data: Any
    sender_metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Direct(Event):
    """A message to this client alone."""

    sender_peer_id: str
    data: Any
    sender_metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Presence(Event):
    channel: str
    joined: tuple[PresencePeer, ...]
    left: tuple[PresencePeer, ...]


@dataclass(frozen=True, slots=True)
class ServerError(Event):
    """An error frame that answers no request, or that ended the replay of a subscription."""

    code: str
    message: str | None = None
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class GoingAway(Event):
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class TokenProviderError(Event):
    """The token provider failed three times in a row, or more; retries go on."""

    consecutive_failures: int
    err: Exception


# MeteredPeer


@dataclass(frozen=True, slots=True)
class Joined(Event):
    peer_id: str
    channel: str


@dataclass(frozen=True, slots=True)
class Left(Event):
    peer_id: str | None
    channel: str | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class PeerJoined(Event):
    peer: RemotePeer


@dataclass(frozen=True, slots=True)
class PeerLeft(Event):
    peer: RemotePeer


@dataclass(frozen=True, slots=True)
class Data(Event):
    """A message of another peer's; `sender_peer_id` is stamped by the server and can be trusted, `data` cannot."""

    sender_peer_id: str
    data: Any
    kind: Literal["broadcast", "direct"]
    sender_metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class FatalError(Event):
    """Something that does not heal by itself."""

    err: Exception


# RemotePeer


@dataclass(frozen=True, slots=True)
class Track(Event):
    """The other side sends a track."""

    track: Any
    streams: tuple[MediaStream, ...] = ()
    metadata: StreamMetadata | None = None


@dataclass(frozen=True, slots=True)
class StreamAdded(Event):
    """The first track of a stream came; again with a new object after a rebuild."""

    stream: MediaStream
    metadata: StreamMetadata | None = None


@dataclass(frozen=True, slots=True)
class StreamRemoved(Event):
    """The last track of a stream went."""

    stream: MediaStream


@dataclass(frozen=True, slots=True)
class DataChannelOpened(Event):
    """The other side opened a data channel; wrap `channel` in a DataChannel."""

    channel: Any


@dataclass(frozen=True, slots=True)
class NegotiationError(Event):
    err: Exception


@dataclass(frozen=True, slots=True)
class IceCandidateError(Event):
    err: Exception


@dataclass(frozen=True, slots=True)
class MetadataChanged(Event):
    """What the server says about this peer is not what it said before."""

    metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class ConnectionReset(Event):
    """The peer connection was built anew: data channels of the old one are gone, create them again."""


# DataChannel


@dataclass(frozen=True, slots=True)
class DCOpen(Event):
    pass


@dataclass(frozen=True, slots=True)
class DCClose(Event):
    pass


@dataclass(frozen=True, slots=True)
class DCError(Event):
    err: Exception


@dataclass(frozen=True, slots=True)
class DCMessage(Event):
    data: str | bytes
