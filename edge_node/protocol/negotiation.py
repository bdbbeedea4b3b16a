"""Who offers, who answers, when a connection is built anew: the decisions of one peer pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_never

from edge_node.bucket import Bucket

# Browsers offer the moment a peer appears, and a Chromium (156) that has to take its first offer back within some 20 ms
# never gathers a candidate again; later, the JS SDK does not find the metadata of tracks that took the places of its
# own. So even the impolite side lets a stranger go first; one of ours, which said hello, needs less of a head start.
IMPOLITE_WAIT_S = 0.06
POLITE_WAIT_S = 0.15
ANSWER_TIMEOUT_S = 10.0
# The signalling was away and is back: an answer that is still not there by then was lost.
RESUMED_ANSWER_S = 1.0
UNSENT_RETRY_S = 1.0
CONNECT_TIMEOUT_S = 15.0
POLITE_RECOVERY_WAIT_S = 1.0
# The first step lets a peer that is leaving say so before anything is built for it.
LADDER_S = (0.3, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0)
REMOTE_RESTARTS = 6
REMOTE_RESTART_EVERY_S = 2.0


def is_polite(own_id: str, remote_id: str) -> bool:
    """The peer with the smaller id gives way when both offer at once."""
    return own_id < remote_id


# Events


@dataclass(frozen=True, slots=True)
class Changed:
    """Local media changed: the other side has to hear of it."""


@dataclass(frozen=True, slots=True)
class OfferSent:
    pass


@dataclass(frozen=True, slots=True)
class OfferFailed:
    pass


@dataclass(frozen=True, slots=True)
class OfferUnsent:
    """The offer did not go out and was taken back; the connection is as it was before."""


@dataclass(frozen=True, slots=True)
class OfferSkipped:
    """There was nothing to offer."""


@dataclass(frozen=True, slots=True)
class OfferReceived:
    ufrag: str | None


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer was sent; `satisfied`: it carried everything there is to send."""

    satisfied: bool = True


@dataclass(frozen=True, slots=True)
class AnswerFailed:
    """The offer could not be applied or answered; `usable`: the connection is as it was before."""

    usable: bool = False


@dataclass(frozen=True, slots=True)
class AnswerReceived:
    ufrag: str | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer was applied; `satisfied` as in Answered."""

    satisfied: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """The answer rejected all that was offered: the offer was taken back, and the next one waits for a change."""


@dataclass(frozen=True, slots=True)
class Up:
    """Media can flow."""


@dataclass(frozen=True, slots=True)
class Down:
    """The connection failed, or the other side closed it."""


@dataclass(frozen=True, slots=True)
class Resumed:
    """The signalling was away and is back, and the connection works."""


@dataclass(frozen=True, slots=True)
class Renew:
    """Build the connection anew: the other side was away and this one is of no use any more."""


@dataclass(frozen=True, slots=True)
class Kin:
    """The other side is one of ours."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """The other side began anew, and knows nothing of what was agreed."""


NegotiationEvent = (
    Changed
    | OfferSent
    | OfferFailed
    | OfferUnsent
    | OfferSkipped
    | OfferReceived
    | Answered
    | AnswerFailed
    | AnswerReceived
    | Accepted
    | Refused
    | Up
    | Down
    | Resumed
    | Renew
    | Kin
    | Replaced
)

# Effects


@dataclass(frozen=True, slots=True)
class MakeOffer:
    """Offer; `fresh`: on a new peer connection, `again`: the offer made last is taken back first."""

    fresh: bool = False
    again: bool = False


@dataclass(frozen=True, slots=True)
class TakeOffer:
    """Apply the received offer and answer it; `rollback`: take the own offer back first."""

    fresh: bool = False
    rollback: bool = False


@dataclass(frozen=True, slots=True)
class TakeAnswer:
    """Apply the received answer."""


@dataclass(frozen=True, slots=True)
class Ignore:
    """Drop what was received."""

    reason: str


@dataclass(frozen=True, slots=True)
class StartOver:
    """Drop the peer connection now, and begin with a new one."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No connection came about after this many attempts; told once."""

    attempts: int


NegotiationEffect = MakeOffer | TakeOffer | TakeAnswer | Ignore | StartOver | GiveUp


class Negotiation:
    """`handle(event, now)` and `tick(now)` say what to do: one thing at a time, its result comes back as an event."""

    def __init__(self, *, polite: bool) -> None:
        self.polite = polite
        self._head_start_s = POLITE_WAIT_S
        self._dirty = False
        self._offered = False
        self._settled = False
        self._broken = False
        self._follow_up = True
        self._asked_again = False
        self._remote_ufrag: str | None = None
        self._offer_ufrag: str | None = None
        self._offer_at: float | None = None
        self._answer_due: float | None = None
        self._connect_due: float | None = None
        self._retry_at: float | None = None
        self._up = False
        self._attempt = 0
        self._gave_up = False
        self._restarts = Bucket(1 / REMOTE_RESTART_EVERY_S, REMOTE_RESTARTS, REMOTE_RESTARTS, 0.0)

    @property
    def deadline(self) -> float | None:
        """When tick() has to be called next, or None."""
        times = (self._offer_at, self._answer_due, self._connect_due, self._retry_at)
        return min((t for t in times if t is not None), default=None)

    @property
    def settled(self) -> bool:
        """One offer and its answer have been exchanged on the present connection."""
        return self._settled and not self._broken

    def handle(self, event: NegotiationEvent, now: float) -> list[NegotiationEffect]:
        match event:
            case Changed():
                self._dirty = True
                return self._offer_when_due(now)
            case OfferSent():
                self._offered, self._dirty = True, False
                self._answer_due = now + ANSWER_TIMEOUT_S
            case OfferFailed() | Down():
                return self._failed(now)
            case OfferReceived(ufrag):
                return self._offer_received(ufrag, now)
            case AnswerReceived(ufrag):
                if not self._offered:
                    return [Ignore("an answer to no offer")]
                self._offer_ufrag = ufrag
                return [TakeAnswer()]
            case Answered(satisfied) | Accepted(satisfied):
                return self._exchanged(satisfied, now)
            case Refused():
                self._offered, self._asked_again, self._answer_due = False, False, None
                return self._offer_when_due(now) if self._dirty else []
            case OfferSkipped():
                self._dirty = False
            case OfferUnsent():
                self._dirty, self._offered = True, False
                self._offer_at = now + UNSENT_RETRY_S
            case AnswerFailed(usable):
                self._broken = self._broken or not usable or not self._settled
                return self._offer_when_due(now) if self._dirty else []
            case Up() if self._broken:
                pass  # it comes too late: this connection is to be replaced
            case Up():
                self._up, self._gave_up, self._attempt = True, False, 0
                self._connect_due = self._retry_at = None
            case Resumed():
                due = self._answer_due
                self._answer_due = None if due is None else min(due, now + RESUMED_ANSWER_S)
            case Renew():
                return self._renew(now)
            case Kin():
                self._head_start_s = POLITE_WAIT_S if self.polite else IMPOLITE_WAIT_S
                at = self._offer_at
                self._offer_at = None if at is None else min(at, now + self._head_start_s)
            case Replaced():
                return self._replaced(now)
            case _ as never:  # pragma: no cover
                assert_never(never)
        return []

    def tick(self, now: float) -> list[NegotiationEffect]:
        """What became due by `now`."""
        if self._retry_at is not None and now >= self._retry_at:
            self._retry_at = None
            return [self._offer()]
        if self._offer_at is not None and now >= self._offer_at:
            self._offer_at = None
            return [self._offer()] if self._dirty and not self._offered else []
        if self._answer_due is not None and now >= self._answer_due and self._up and not self._asked_again:
            self._asked_again = True  # what was lost is asked for once more before anything that works is given up
            return [self._offer(again=True)]
        due = [t for t in (self._answer_due, self._connect_due) if t is not None and now >= t]
        return self._failed(now) if due else []

    def _offer(self, again: bool = False) -> NegotiationEffect:
        fresh = self._broken
        if fresh:
            self._reset()
        self._offer_at = None
        return MakeOffer(fresh, again)

    def _reset(self) -> None:
        self._broken = self._offered = self._settled = self._up = self._asked_again = False
        self._follow_up = True
        self._remote_ufrag = None
        self._answer_due = self._connect_due = None

    def _offer_when_due(self, now: float) -> list[NegotiationEffect]:
        if self._offered or self._retry_at is not None:
            return []  # what changed goes out with the next offer
        if not self._settled:
            if self._offer_at is None:
                self._offer_at = now + self._head_start_s
            return []
        return [self._offer()]

    def _offer_received(self, ufrag: str | None, now: float) -> list[NegotiationEffect]:
        if self._offered and not self.polite and not self._broken:
            return [Ignore("both sides offered: this one is impolite and goes on with its own offer")]
        known = self._remote_ufrag
        restarted = self._settled and known is not None and ufrag is not None and ufrag != known
        if restarted and not self._restarts.take(now):
            return [Ignore("the other side restarts too often")]
        # A peer connection that has never exchanged anything is replaced rather than rolled back: it costs nothing.
        fresh = self._broken or restarted or (self._offered and not self._settled)
        rollback = self._offered and not fresh
        if self._offered:
            self._dirty = True
        if fresh:
            self._reset()
        self._offered = False
        self._offer_at = self._answer_due = self._retry_at = None
        self._offer_ufrag = ufrag
        return [TakeOffer(fresh, rollback)]

    def _exchanged(self, satisfied: bool, now: float) -> list[NegotiationEffect]:
        answered = not self._offered
        self._offered, self._settled, self._asked_again = False, True, False
        self._remote_ufrag = self._offer_ufrag
        self._answer_due = None
        if not self._up:
            self._connect_due = now + CONNECT_TIMEOUT_S
        if satisfied:
            self._follow_up = True
            self._dirty = self._dirty and not answered
        elif self._follow_up:
            self._follow_up = False  # a track the other side refuses is offered once more, not for ever
            self._dirty = True
        return [self._offer()] if self._dirty else []

    def _failed(self, now: float) -> list[NegotiationEffect]:
        self._reset()
        self._broken = True
        self._offer_at = None
        if self._retry_at is not None or self._gave_up:
            return []
        if self._attempt >= len(LADDER_S):
            self._gave_up = True
            return [GiveUp(self._attempt)]
        self._retry_at = now + LADDER_S[self._attempt] + (POLITE_RECOVERY_WAIT_S if self.polite else 0.0)
        self._attempt += 1
        return []

    def _renew(self, now: float) -> list[NegotiationEffect]:
        self._attempt, self._gave_up, self._retry_at = 0, False, None
        return self._failed(now)

    def _replaced(self, now: float) -> list[NegotiationEffect]:
        if not (self._offered or self._settled or self._broken):
            return []  # nothing was agreed with its former self
        if not self._restarts.take(now):
            return self._failed(now)
        self._attempt, self._gave_up = 0, False
        self._reset()
        self._offer_at = self._retry_at = None
        self._dirty = True
        return [StartOver(), *self._offer_when_due(now)]
