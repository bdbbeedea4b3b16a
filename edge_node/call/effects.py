"""What the call machine asks the shell to do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from edge_node.call.messages import Reason

AGENT = "\0agent"
"""Whom AllowAudio names when the node's voice agent talks; no id of a peer has such a character."""


class Phase(Enum):
    """Where the node's one call stands."""

    IDLE = "idle"
    RINGING = "ringing"
    """People are being rung."""
    INCOMING = "incoming"
    """A person calls the node, or another node rings it: its own side rings."""
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class CallView:
    """The call as the node's own side sees it.

    `call`, `peer_id` and `reason` of an IDLE view tell of the call that ended last; `since` is in seconds of the
    machine's clock. `muted`: somebody here wants neither to be seen nor to be heard; `held`: by a switch that stays
    in its position, so that nothing else undoes it. `theirs`: the call of another node, which rings or talks here;
    `attended`: this node's voice agent talks.
    """

    phase: Phase = Phase.IDLE
    call: str | None = None
    peer_id: str | None = None
    reason: Reason | None = None
    since: float = 0.0
    muted: bool = False
    held: bool = False
    theirs: bool = False
    attended: bool = False


@dataclass(frozen=True, slots=True)
class Broadcast:
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SendTo:
    peer_id: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReleaseDoor:
    """Pulse the relay, then report with events.DoorOutcome (same door, peer_id, nonce); local requests have no peer."""

    door: str
    peer_id: str | None = None
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class DoorTold:
    """What another node made of a door request from here; `nonce` is the events.Action's fresh_id."""

    nonce: str
    ok: bool
    reason: str


@dataclass(frozen=True, slots=True)
class DescribeTo:
    """Answer node.describe with messages.description(...)."""

    peer_id: str


@dataclass(frozen=True, slots=True)
class SnapshotTo:
    """Answer snapshot.get with messages.snapshot(...), or with messages.error."""

    peer_id: str
    nonce: str | None = None


@dataclass(frozen=True, slots=True)
class StateChanged:
    view: CallView


@dataclass(frozen=True, slots=True)
class AllowAudio:
    """Who may be heard on the speaker during a call; empty when there is none."""

    peer_ids: frozenset[str]


@dataclass(frozen=True, slots=True)
class LimitNear:
    """The call will be ended by its limit in CallConfig.warn_s seconds."""


@dataclass(frozen=True, slots=True)
class Audit:
    """A line for the log: what was asked, by whom (None: this machine itself), the verdict, why."""

    what: str
    peer_id: str | None
    ok: bool
    reason: str


Effect = (
    Broadcast
    | SendTo
    | ReleaseDoor
    | DoorTold
    | DescribeTo
    | SnapshotTo
    | StateChanged
    | AllowAudio
    | LimitNear
    | Audit
)
