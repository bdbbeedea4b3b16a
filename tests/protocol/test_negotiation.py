from __future__ import annotations

from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_node.protocol import negotiation as n
from tests.support.property import patient


def impolite() -> n.Negotiation:
    return n.Negotiation(polite=False)


def polite() -> n.Negotiation:
    return n.Negotiation(polite=True)


def settle(negotiation: n.Negotiation, ufrag: str = "u") -> None:
    """One exchange in which the other side offered, and a connection."""
    assert negotiation.handle(n.OfferReceived(ufrag), 0)[-1].__class__ is n.TakeOffer
    assert negotiation.handle(n.Answered(), 0) == []
    negotiation.handle(n.Up(), 0)
    assert negotiation.settled and negotiation.deadline is None


def test_the_smaller_id_is_polite() -> None:
    assert n.is_polite("a", "b") and not n.is_polite("b", "a")


@pytest.mark.parametrize(("make", "wait"), [(impolite, n.IMPOLITE_WAIT_S), (polite, n.POLITE_WAIT_S)])
def test_the_first_offer_waits_for_the_other_sides(make: Any, wait: float) -> None:
    stranger = make()
    stranger.handle(n.Changed(), 5)
    assert stranger.deadline == 5 + n.POLITE_WAIT_S
    assert stranger.handle(n.Kin(), 5) == [] and stranger.deadline == 5 + wait
    assert stranger.handle(n.Kin(), 5.05) == [] and stranger.deadline == 5 + wait, "it is not put off"
    negotiation = make()
    assert negotiation.handle(n.Kin(), 4) == [] and negotiation.deadline is None
    assert negotiation.handle(n.Changed(), 5) == []
    assert negotiation.handle(n.Changed(), 5.01) == []
    assert negotiation.deadline == 5 + wait
    assert negotiation.tick(5) == []
    assert negotiation.tick(5 + wait) == [n.MakeOffer()]
    negotiation.handle(n.OfferSent(), 6)
    assert negotiation.handle(n.AnswerReceived("x"), 6) == [n.TakeAnswer()]
    assert negotiation.handle(n.Accepted(), 6) == []
    assert negotiation.settled


def test_an_offer_that_comes_first_is_answered_and_carries_what_changed() -> None:
    negotiation = polite()
    negotiation.handle(n.Changed(), 0)
    assert negotiation.handle(n.OfferReceived("u"), 0.1) == [n.TakeOffer()]
    assert negotiation.handle(n.Answered(), 0.1) == []
    assert negotiation.tick(10) == []


def test_what_the_answer_could_not_carry_is_offered_once() -> None:
    negotiation = polite()
    negotiation.handle(n.OfferReceived("u"), 0)
    assert negotiation.handle(n.Answered(satisfied=False), 0) == [n.MakeOffer()]
    negotiation.handle(n.OfferSent(), 0)
    negotiation.handle(n.AnswerReceived("u"), 0)
    assert negotiation.handle(n.Accepted(satisfied=False), 0) == []


def test_once_settled_a_change_is_offered_at_once() -> None:
    negotiation = polite()
    settle(negotiation)
    assert negotiation.handle(n.Changed(), 1) == [n.MakeOffer()]
    negotiation.handle(n.OfferSent(), 1)
    assert negotiation.handle(n.Changed(), 1) == []  # goes out with the next one
    negotiation.handle(n.AnswerReceived("u"), 1)
    assert negotiation.handle(n.Accepted(), 1) == [n.MakeOffer()]


def test_nothing_to_offer() -> None:
    negotiation = impolite()
    negotiation.handle(n.Changed(), 0)
    assert negotiation.tick(1) == [n.MakeOffer()]
    assert negotiation.handle(n.OfferSkipped(), 1) == [] and negotiation.deadline is None


def offered(negotiation: n.Negotiation) -> None:
    negotiation.handle(n.Changed(), 0)
    negotiation.tick(1)
    negotiation.handle(n.OfferSent(), 1)


def test_glare_at_the_beginning() -> None:
    one, other = impolite(), polite()
    offered(one)
    offered(other)
    assert isinstance(one.handle(n.OfferReceived("x"), 1)[0], n.Ignore)
    assert other.handle(n.OfferReceived("y"), 1) == [n.TakeOffer(fresh=True)]
    assert other.handle(n.Answered(satisfied=True), 1) == []
    assert one.handle(n.AnswerReceived("x"), 1) == [n.TakeAnswer()]


def test_glare_on_a_live_connection() -> None:
    negotiation = polite()
    settle(negotiation)
    negotiation.handle(n.Changed(), 1)
    negotiation.handle(n.OfferSent(), 1)
    assert negotiation.handle(n.OfferReceived("u"), 1) == [n.TakeOffer(rollback=True)]
    assert negotiation.handle(n.Answered(satisfied=False), 1) == [n.MakeOffer()]


def test_a_late_answer_is_dropped() -> None:
    assert isinstance(impolite().handle(n.AnswerReceived("u"), 0)[0], n.Ignore)


def test_the_other_side_restarts() -> None:
    negotiation = polite()
    settle(negotiation)
    assert negotiation.handle(n.OfferReceived("u"), 1) == [n.TakeOffer()]
    negotiation.handle(n.Answered(), 1)
    assert negotiation.handle(n.OfferReceived("new"), 1) == [n.TakeOffer(fresh=True)]
    negotiation.handle(n.Answered(), 1)
    assert negotiation.handle(n.OfferReceived(None), 1) == [n.TakeOffer()]


def test_restarts_are_limited() -> None:
    negotiation = polite()
    settle(negotiation)
    results = []
    for number in range(20):
        effect = negotiation.handle(n.OfferReceived(f"r{number}"), 1)[0]
        results.append(isinstance(effect, n.TakeOffer))
        if results[-1]:
            negotiation.handle(n.Answered(), 1)
    assert sum(results) == n.REMOTE_RESTARTS
    assert isinstance(negotiation.handle(n.OfferReceived("later"), 60)[0], n.TakeOffer)


def test_a_failed_connection_is_built_anew_and_given_up_in_the_end() -> None:
    negotiation = impolite()
    settle(negotiation)
    now, delays = 0.0, []
    for _ in n.LADDER_S:
        began = now
        assert negotiation.handle(n.Down(), now) == []
        assert negotiation.handle(n.Down(), now) == []  # told twice
        assert negotiation.deadline is not None
        now = negotiation.deadline
        delays.append(round(now - began, 3))
        assert negotiation.tick(now) == [n.MakeOffer(fresh=True)]
        negotiation.handle(n.OfferSent(), now)
    assert delays == list(n.LADDER_S)
    assert negotiation.handle(n.Down(), now) == [n.GiveUp(len(n.LADDER_S))]
    assert negotiation.handle(n.Down(), now) == [] and negotiation.deadline is None
    assert negotiation.handle(n.OfferReceived("u"), now) == [n.TakeOffer(fresh=True)]
    negotiation.handle(n.Answered(), now)
    negotiation.handle(n.Up(), now)
    negotiation.handle(n.Down(), now)
    assert negotiation.deadline == now + n.LADDER_S[0]  # armed again


def test_the_polite_side_leaves_the_rebuild_to_the_other_for_a_moment() -> None:
    negotiation = polite()
    settle(negotiation)
    negotiation.handle(n.Down(), 0)
    assert negotiation.deadline == n.LADDER_S[0] + n.POLITE_RECOVERY_WAIT_S
    assert negotiation.handle(n.Changed(), 0) == []
    assert negotiation.handle(n.OfferReceived("new"), 0.5) == [n.TakeOffer(fresh=True)]
    assert negotiation.deadline is None


def test_an_offer_without_an_answer_and_a_connection_that_does_not_come_up() -> None:
    negotiation = impolite()
    offered(negotiation)
    assert negotiation.tick(1 + n.ANSWER_TIMEOUT_S) == []
    now = negotiation.deadline
    assert now is not None and negotiation.tick(now) == [n.MakeOffer(fresh=True)]
    negotiation.handle(n.OfferSent(), now)
    negotiation.handle(n.AnswerReceived("u"), now)
    negotiation.handle(n.Accepted(), now)
    assert negotiation.deadline == now + n.CONNECT_TIMEOUT_S
    negotiation.tick(now + n.CONNECT_TIMEOUT_S)
    assert not negotiation.settled


def test_an_offer_that_fails_is_made_again() -> None:
    negotiation = impolite()
    negotiation.handle(n.Changed(), 0)
    negotiation.tick(1)
    assert negotiation.handle(n.OfferFailed(), 1) == []
    assert negotiation.tick(2) == [n.MakeOffer(fresh=True)]


def test_d02_an_offer_that_did_not_go_out_is_made_again_on_the_same_connection() -> None:
    negotiation = impolite()
    settle(negotiation)
    assert negotiation.handle(n.Changed(), 1) == [n.MakeOffer()]
    assert negotiation.handle(n.OfferUnsent(), 1) == [] and negotiation.settled
    assert negotiation.deadline == 1 + n.UNSENT_RETRY_S
    assert negotiation.tick(1 + n.UNSENT_RETRY_S) == [n.MakeOffer()]
    negotiation.handle(n.OfferUnsent(), 2)
    assert negotiation.handle(n.Resumed(), 2) == []
    assert negotiation.handle(n.Changed(), 2) == [n.MakeOffer()]


@pytest.mark.parametrize("resumed", [True, False])
def test_d02_an_answer_that_was_lost_is_asked_for_again_once(resumed: bool) -> None:
    negotiation = polite()
    settle(negotiation)
    negotiation.handle(n.Changed(), 1)
    negotiation.handle(n.OfferSent(), 1)
    due = 1 + n.ANSWER_TIMEOUT_S
    if resumed:
        negotiation.handle(n.Resumed(), 2)
        due = 2 + n.RESUMED_ANSWER_S
    assert negotiation.deadline == due
    assert negotiation.tick(due) == [n.MakeOffer(again=True)]
    negotiation.handle(n.OfferSent(), due)
    assert negotiation.tick(due + n.ANSWER_TIMEOUT_S) == [] and not negotiation.settled


def test_what_was_refused_is_offered_again_only_after_a_change() -> None:
    negotiation = impolite()
    negotiation.handle(n.Changed(), 0)
    assert negotiation.tick(1) == [n.MakeOffer()]
    negotiation.handle(n.OfferSent(), 1)
    assert negotiation.handle(n.AnswerReceived(None), 1) == [n.TakeAnswer()]
    assert negotiation.handle(n.Refused(), 1) == [] and negotiation.deadline is None and not negotiation.settled
    negotiation.handle(n.Changed(), 2)
    assert negotiation.tick(3) == [n.MakeOffer()]
    live = polite()
    settle(live)
    assert live.handle(n.Changed(), 1) == [n.MakeOffer()]
    live.handle(n.OfferSent(), 1)
    live.handle(n.Changed(), 1)
    live.handle(n.AnswerReceived(None), 1)
    assert live.handle(n.Refused(), 1) == [n.MakeOffer()] and live.settled
    live.handle(n.OfferSent(), 1)
    live.handle(n.AnswerReceived(None), 1)
    assert live.handle(n.Refused(), 1) == [] and live.deadline is None


def test_an_answer_that_fails() -> None:
    negotiation = polite()
    negotiation.handle(n.OfferReceived("u"), 0)
    assert negotiation.handle(n.AnswerFailed(), 0) == []
    assert negotiation.handle(n.OfferReceived("u"), 0) == [n.TakeOffer(fresh=True)]
    settle(polite())
    live = polite()
    settle(live)
    assert live.handle(n.OfferReceived("u"), 0) == [n.TakeOffer()]
    assert live.handle(n.AnswerFailed(usable=True), 0) == [] and live.settled
    waiting = polite()
    waiting.handle(n.Changed(), 0)
    waiting.handle(n.OfferReceived("u"), 0)
    assert waiting.handle(n.AnswerFailed(), 0) == []
    assert waiting.tick(n.POLITE_WAIT_S) == [n.MakeOffer(fresh=True)]


def test_renewing_starts_over() -> None:
    negotiation = impolite()
    settle(negotiation)
    for _ in range(5):
        negotiation.handle(n.Renew(), 10)
        assert negotiation.deadline == 10 + n.LADDER_S[0]
    assert negotiation.tick(11) == [n.MakeOffer(fresh=True)]


def test_who_began_anew_gets_a_new_connection_at_once() -> None:
    negotiation = polite()
    settle(negotiation)
    assert negotiation.handle(n.Replaced(), 10) == [n.StartOver()] and not negotiation.settled
    assert negotiation.deadline == 10 + n.POLITE_WAIT_S
    assert negotiation.handle(n.Replaced(), 10) == [], "nothing was agreed since"
    assert negotiation.handle(n.OfferReceived("new"), 10.05) == [n.TakeOffer()]
    assert negotiation.handle(n.Answered(), 10.06) == [] and negotiation.tick(11) == []
    for make in (impolite, polite):
        waiting = make()
        offered(waiting)
        assert waiting.handle(n.Replaced(), 2) == [n.StartOver()]
        assert waiting.tick(3) == [n.MakeOffer()]
        waiting.handle(n.OfferFailed(), 3)
        assert waiting.handle(n.Replaced(), 4) == [n.StartOver()], "it does not wait for the next try"
        assert waiting.tick(5) == [n.MakeOffer()]


def test_who_begins_anew_too_often_has_to_wait() -> None:
    negotiation = impolite()
    settle(negotiation)
    for _ in range(n.REMOTE_RESTARTS):
        assert negotiation.handle(n.Replaced(), 1) == [n.StartOver()]
        assert negotiation.handle(n.OfferReceived("u"), 1) == [n.TakeOffer()]
        negotiation.handle(n.Answered(), 1)
    assert negotiation.handle(n.Replaced(), 1) == [] and not negotiation.settled
    assert negotiation.tick(1 + n.LADDER_S[0]) == [n.MakeOffer(fresh=True)]


def test_a_connection_that_comes_up_too_late_is_replaced_all_the_same() -> None:
    negotiation = impolite()
    offered(negotiation)
    negotiation.handle(n.Renew(), 2)
    negotiation.handle(n.Up(), 2)
    assert negotiation.tick(2 + n.LADDER_S[0]) == [n.MakeOffer(fresh=True)]


class Side:
    """A Negotiation with a pretended peer connection."""

    def __init__(self, *, polite: bool) -> None:
        self.negotiation = n.Negotiation(polite=polite)
        self.name = "p" if polite else "i"
        self.generation = 0
        self.remote: str | None = None
        self.outbox: deque[tuple[str, str, str]] = deque()
        self.is_away = False

    @property
    def ufrag(self) -> str:
        return f"{self.name}{self.generation}"

    def do(self, effects: list[n.NegotiationEffect], now: float, offer: str = "") -> None:
        for effect in effects:
            match effect:
                case n.MakeOffer() if self.is_away:
                    unsent = n.OfferUnsent() if self.negotiation.settled else n.OfferFailed()
                    self.do(self.negotiation.handle(unsent, now), now)
                case n.MakeOffer(fresh):
                    self.generation += fresh
                    self.outbox.append(("offer", self.ufrag, ""))
                    self.do(self.negotiation.handle(n.OfferSent(), now), now)
                case n.TakeOffer(fresh):
                    self.generation += fresh
                    self.remote = offer
                    self.outbox.append(("answer", self.ufrag, offer))
                    self.do(self.negotiation.handle(n.Answered(), now), now)
                case n.TakeAnswer():
                    self.remote = offer
                    self.do(self.negotiation.handle(n.Accepted(), now), now)
                case n.StartOver():
                    self.generation += 1
                    self.remote = None
                case n.Ignore() | n.GiveUp():
                    pass

    def hear(self, message: tuple[str, str, str], now: float) -> None:
        kind, ufrag, about = message
        if kind == "offer":
            self.do(self.negotiation.handle(n.OfferReceived(ufrag), now), now, ufrag)
        elif about == self.ufrag:  # aiortc refuses an answer to another connection's offer
            self.do(self.negotiation.handle(n.AnswerReceived(ufrag), now), now, ufrag)


EVENTS: dict[str, n.NegotiationEvent] = {
    "change": n.Changed(),
    "down": n.Down(),
    "renew": n.Renew(),
    "up": n.Up(),
    "resume": n.Resumed(),
    "replaced": n.Replaced(),
    "kin": n.Kin(),
}
ACTIONS = st.lists(
    st.sampled_from(
        [
            f"{what}-{who}"
            for what in ("change", "down", "renew", "replaced", "kin", "up", "resume", "lose", "away")
            for who in "pi"
        ]
        + ["p>i", "i>p", "t"]
    ),
    max_size=60,
)


@settings(patient, max_examples=300)
@given(ACTIONS)
def test_both_sides_end_up_on_the_same_connection(actions: list[str]) -> None:
    sides = {"p": Side(polite=True), "i": Side(polite=False)}
    now = 0.0

    def deliver(source: str) -> None:
        other = "i" if source == "p" else "p"
        if sides[source].outbox:
            sides[other].hear(sides[source].outbox.popleft(), now)

    def act(action: str) -> None:
        verb, _, who = action.partition("-")
        if action == "t":
            for side in sides.values():
                side.do(side.negotiation.tick(now), now)
        elif ">" in action:
            deliver(action[0])
        elif verb == "lose" and sides[who].outbox:
            sides[who].outbox.popleft()
        elif verb == "away":
            sides[who].is_away = not sides[who].is_away
        elif verb != "lose":
            event = EVENTS[verb]
            sides[who].do(sides[who].negotiation.handle(event, now), now)

    for action in actions:
        now += 0.05
        act(action)
    for side in sides.values():  # the network works again, and both know it
        side.is_away = False
        side.do(side.negotiation.handle(n.Renew(), now), now)
    for _ in range(400):
        now += 0.05
        for source in ("p", "i", "p", "i"):
            deliver(source)
        act("t")
        p, i = sides["p"], sides["i"]
        if p.negotiation.settled and i.negotiation.settled and (p.remote, i.remote) == (i.ufrag, p.ufrag):
            for side in sides.values():
                side.do(side.negotiation.handle(n.Up(), now), now)
    assert (p.remote, i.remote) == (i.ufrag, p.ufrag), [vars(side) for side in sides.values()]
    assert p.negotiation.settled and i.negotiation.settled
