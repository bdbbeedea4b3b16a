"""The one call that a node has: with whom, in which phase, until when."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edge_node.call import messages as msg
from edge_node.call.effects import Phase
from edge_node.call.hunt import Hunt
from edge_node.call.messages import Reason, State

NEVER = float("inf")


@dataclass(slots=True)
class Call:
    """Times in seconds of the machine's clock, `at` in unix seconds, as its rings say; a `hunt` while it rings.

    `theirs`: the call of another node, which rings this one and keeps what becomes of it. `asked`: it was told that
    somebody here answers; it has to confirm that. `attended`: a voice agent of this node's talks, which is `by` itself.
    """

    id: str
    phase: Phase
    at: float
    ends_at: float
    peer_id: str | None = None
    hunt: Hunt | None = None
    next_ring: float = NEVER
    grace_ends: float = NEVER
    warn_at: float = NEVER
    theirs: bool = False
    asked: bool = False
    attended: bool = False
    by: str | None = None

    def is_of(self, peer_id: str, call_id: str) -> bool:
        """Whether it is this call of another node's."""
        return self.theirs and (self.peer_id, self.id) == (peer_id, call_id)

    @property
    def deadline(self) -> float:
        """When something is due."""
        slot_ends = self.hunt.slot_ends if self.hunt else NEVER
        return min(self.ends_at, self.next_ring, self.grace_ends, self.warn_at, slot_ends)

    def over(self, now: float) -> Reason | None:
        """Why time has ended it, or None."""
        if now >= self.grace_ends:
            return Reason.PEER_LEFT
        if now >= self.ends_at:
            return Reason.LIMIT if self.phase is Phase.ACTIVE else Reason.TIMEOUT
        return None

    def answered(self, peer_id: str | None, now: float, talk_s: float, warn_s: float) -> Call:
        """The same call as a talk of talk_s with this peer, who is warned warn_s before its end (0: never).

        None: with a voice agent.
        """
        return replace(
            self,
            phase=Phase.ACTIVE,
            peer_id=peer_id,
            ends_at=now + talk_s,
            warn_at=now + talk_s - warn_s if 0 < warn_s < talk_s else NEVER,
            hunt=None,
            next_ring=NEVER,
            attended=peer_id is None,
        )

    def state(self) -> msg.Data:
        """What the channel is told of it now."""
        if self.phase is Phase.ACTIVE:
            by = self.by if self.attended else self.peer_id
            return msg.state(self.id, State.ACTIVE, by=by, reason=Reason.ANSWERED, agent=self.attended)
        return msg.state(self.id, State.RINGING, by=self.peer_id)

    def ended(self, reason: Reason) -> msg.Data:
        """What the channel is told at its end."""
        return msg.state(self.id, State.ENDED, by=self.peer_id, reason=reason)
