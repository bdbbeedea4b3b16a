"""What can happen to a call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_node.call.messages import Message


@dataclass(frozen=True, slots=True)
class Action:
    """What a button, or somebody at this machine, asks for.

    `action` is `call`, `answer`, `hangup`, `toggle`, `mute`, `mute:on`, `mute:off`, `open:DOOR`, or from a switch
    `mute:hold`, `mute:release`. `fresh_id` becomes the id of the call that it may start; `at` is the moment in unix
    seconds. `source` goes into the audit.
    """

    action: str
    fresh_id: str
    at: float
    source: str = "button"


@dataclass(frozen=True, slots=True)
class PeerMessage:
    """A person sent Data straight to this node; `peer_id` is the sender as stamped by the server."""

    peer_id: str
    message: Message


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A peer is on the channel; `metadata` is the server-stamped peerMetadata (its `role` or `roles` are used)."""

    peer_id: str
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class PeerLeft:
    peer_id: str


@dataclass(frozen=True, slots=True)
class ChannelUp:
    """The node is on the channel, where it is `me`: messages go out."""

    me: str | None = None


@dataclass(frozen=True, slots=True)
class ChannelDown:
    """Messages would be lost: none are produced until ChannelUp."""


@dataclass(frozen=True, slots=True)
class DoorOutcome:
    """What came of an effects.ReleaseDoor; `reason` says why it failed."""

    door: str
    peer_id: str | None
    nonce: str | None
    ok: bool
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class AgentDone:
    """The voice agent's talk in this call is over."""

    call: str


Event = Action | PeerMessage | PeerJoined | PeerLeft | ChannelUp | ChannelDown | DoorOutcome | AgentDone
