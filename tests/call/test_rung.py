"""What the word of a node that rings means here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_node.call import messages as msg
from edge_node.call.effects import CallView, Phase
from edge_node.call.messages import Reason, State
from edge_node.call.ongoing import Call
from edge_node.call.rung import SILENT_S, Begins, Disowned, Ends, Meaning, Talks, meaning

NOW = 1000.0
RING = msg.Ring("c", 5.0)
WAITING = Call("c", Phase.INCOMING, 5.0, NOW + SILENT_S, peer_id="door", theirs=True)
ASKED = replace(WAITING, asked=True)
TALK = replace(ASKED, phase=Phase.ACTIVE, ends_at=NOW + 120)
OWN = Call("c", Phase.INCOMING, 5.0, NOW + 30, peer_id="door")


def means(
    news: msg.Ring | msg.CallState | msg.Refused, call: Call | None, *, last: CallView | None = None, me: str = "hall"
) -> Meaning:
    return meaning(news, "door", call=call, last=last or CallView(), me=me, now=NOW)


def test_a_ring_begins_a_call() -> None:
    assert means(RING, None) == Begins(WAITING)


@pytest.mark.parametrize(
    ("last", "rings"),
    [
        (CallView(call="c", peer_id="door", reason=Reason.DECLINED), False),
        (CallView(call="c", peer_id="door", reason=Reason.BUSY), False),
        (CallView(call="c", peer_id="door", reason=Reason.TIMEOUT), True),
        (CallView(call="c", peer_id="door", reason=Reason.PEER_LEFT), True),
        (CallView(call="c", peer_id="gate", reason=Reason.DECLINED), True),
        (CallView(call="b", peer_id="door", reason=Reason.DECLINED), True),
    ],
)
def test_what_was_settled_does_not_ring_again(last: CallView, rings: bool) -> None:
    assert (means(RING, None, last=last) is not None) is rings


def test_a_ring_goes_on() -> None:
    call = replace(WAITING, ends_at=NOW + 1)
    assert means(RING, call) is None
    assert call.ends_at == NOW + SILENT_S


@pytest.mark.parametrize("call", [TALK, OWN, replace(WAITING, id="b"), replace(WAITING, peer_id="gate")])
def test_a_ring_changes_no_other_call(call: Call) -> None:
    before = replace(call)
    assert means(RING, call) is None
    assert call == before


@pytest.mark.parametrize(
    ("state", "by", "call", "meant"),
    [
        (State.RINGING, None, WAITING, None),
        (State.ENDED, None, WAITING, Ends(WAITING, Reason.HANGUP)),
        (State.ENDED, None, TALK, Ends(TALK, Reason.HANGUP)),
        (State.ACTIVE, "anna", WAITING, Ends(WAITING, Reason.BUSY)),
        (State.ACTIVE, "anna", TALK, Ends(TALK, Reason.BUSY)),
        (State.ACTIVE, "hall", ASKED, Talks(ASKED)),
        (State.ACTIVE, "hall", TALK, None),
        (State.ACTIVE, "hall", OWN, None),
        (State.ACTIVE, "hall", replace(ASKED, id="b"), None),
    ],
)
def test_what_becomes_of_it(state: State, by: str | None, call: Call, meant: Meaning) -> None:
    assert means(msg.CallState("c", state, by), call) == meant


def test_nobody_is_put_into_a_talk_by_another_node_alone() -> None:
    assert means(msg.CallState("c", State.ACTIVE, "hall"), WAITING) is None


def test_why_it_ended() -> None:
    assert means(msg.CallState("c", State.ENDED, reason=Reason.TIMEOUT), WAITING) == Ends(WAITING, Reason.TIMEOUT)


@pytest.mark.parametrize(("by", "me", "disowned"), [("hall", "hall", True), ("anna", "hall", False)])
def test_a_talk_that_nobody_here_knows_of(by: str, me: str, disowned: bool) -> None:
    assert means(msg.CallState("c", State.ACTIVE, by), None, me=me) == (Disowned("c") if disowned else None)


def test_without_an_id_of_our_own_nothing_is_ours() -> None:
    news = msg.CallState("c", State.ACTIVE, None)
    assert meaning(news, "door", call=None, last=CallView(), me=None, now=NOW) is None


def test_other_words_about_no_call() -> None:
    assert means(msg.CallState("c", State.ENDED), None) is None


@pytest.mark.parametrize(
    ("of", "call", "ends"),
    [("call.answer", ASKED, True), ("call.answer", WAITING, False), ("door.open", ASKED, False)],
)
def test_an_answer_that_is_refused_ends_it(of: str, call: Call, ends: bool) -> None:
    assert means(msg.Refused(of), call) == (Ends(call, Reason.CANCELLED) if ends else None)


def test_a_refusal_without_a_call() -> None:
    assert means(msg.Refused("call.answer"), None) is None
