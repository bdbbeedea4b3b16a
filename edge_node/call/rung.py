"""What another node's ring, or its word of the call, means to the node that it rings."""

from __future__ import annotations

from dataclasses import dataclass

from edge_node.call import messages as msg
from edge_node.call.effects import CallView, Phase
from edge_node.call.messages import Reason, State
from edge_node.call.ongoing import Call

SILENT_S = 6.0
"""A node repeats its ring every 2 s: three that are missed mean that it has stopped."""
RINGS_AGAIN = (Reason.TIMEOUT, Reason.PEER_LEFT)
"""Ends that were the network's doing, not somebody's."""


@dataclass(frozen=True, slots=True)
class Begins:
    call: Call


@dataclass(frozen=True, slots=True)
class Talks:
    """Somebody here was the first to answer."""

    call: Call


@dataclass(frozen=True, slots=True)
class Ends:
    call: Call
    reason: Reason


@dataclass(frozen=True, slots=True)
class Disowned:
    """The other node believes in a talk that nobody here knows of, after a restart."""

    call: str


Meaning = Begins | Talks | Ends | Disowned | None


def meaning(
    news: msg.Ring | msg.CallState | msg.Refused,
    peer_id: str,
    *,
    call: Call | None,
    last: CallView,
    me: str | None,
    now: float,
) -> Meaning:
    """What becomes of this node's call, of which `last` is shown; a ring that goes on is noted in it.

    Only who `asked` gets into a talk: another node cannot open a microphone here by its word alone.
    """
    match news:
        case msg.Ring(call_id, at) if call is None:
            return _new(Call(call_id, Phase.INCOMING, at, now + SILENT_S, peer_id=peer_id, theirs=True), last)
        case msg.Ring(call_id) if call is not None and call.is_of(peer_id, call_id) and call.phase is Phase.INCOMING:
            call.ends_at = now + SILENT_S
            return None
        case msg.CallState(call_id, State.ACTIVE, by) if call is None:
            return Disowned(call_id) if me is not None and by == me else None
        case msg.CallState(call_id) if call is not None and call.is_of(peer_id, call_id):
            return _told(news, call, me)
        case msg.Refused("call.answer") if call is not None and call.asked and call.peer_id == peer_id:
            return Ends(call, Reason.CANCELLED)
        case _:
            return None


def _new(call: Call, last: CallView) -> Meaning:
    """None for a ring that was on its way when somebody here declined, or somebody elsewhere answered."""
    settled = (last.call, last.peer_id) == (call.id, call.peer_id) and last.reason not in RINGS_AGAIN
    return None if settled else Begins(call)


def _told(news: msg.CallState, call: Call, me: str | None) -> Meaning:
    if news.state is State.ENDED:
        return Ends(call, news.reason or Reason.HANGUP)
    if news.state is State.RINGING:
        return None
    if news.by != me:
        return Ends(call, Reason.BUSY)  # somebody else was first
    return Talks(call) if call.asked and call.phase is Phase.INCOMING else None
