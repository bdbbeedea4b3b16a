"""The voice agent takes the call that nobody answered; people may take it over."""

from __future__ import annotations

from typing import Any

import pytest

from edge_node.call.effects import AGENT, CallView, LimitNear, Phase, StateChanged
from edge_node.call.events import AgentDone, ChannelDown, ChannelUp, PeerJoined
from edge_node.call.messages import Reason
from tests.support.call_driver import Driver, error, state

ATTENDED = state("c1", "active", "front-door", "answered") | {"agent": True}


def unanswered(*peers: str, **settings: Any) -> Driver:
    """A door whose ring nobody heard."""
    d = Driver(*peers, **{"attend_s": 60.0} | settings)
    d.press()
    d.wait(30)
    return d


def test_nobody_answers() -> None:
    d = unanswered("anna")
    assert d.said[-1] == ATTENDED
    assert d.heard == [frozenset({AGENT})]
    view = CallView(Phase.ACTIVE, "c1", None, Reason.ANSWERED, 1030.0, attended=True)
    assert d.of(StateChanged) == [StateChanged(view)]
    d.wait(50)
    assert d.of(LimitNear) == [LimitNear()]
    d.wait(10)
    assert d.said == [state("c1", "ended", reason="limit")]
    assert d.heard == [frozenset()]


def test_without_an_agent_the_call_ends() -> None:
    assert unanswered("anna", attend_s=None).phase() is Phase.IDLE


def test_in_private_it_does_not_listen() -> None:
    d = Driver("anna", attend_s=60.0)
    d.press("mute:on")
    d.press()
    d.wait(30)
    assert d.phase() is Phase.IDLE


@pytest.mark.parametrize("leaves", [False, True])
def test_everybody_declines(leaves: bool) -> None:
    d = Driver("anna", "bob", attend_s=60.0)
    d.press()
    d.says("anna", "call.decline", call="c1")
    d.leaves("bob") if leaves else d.says("bob", "call.decline", call="c1")
    assert d.said == [ATTENDED]


def test_what_the_agent_talks_about_is_over() -> None:
    d = unanswered()
    d.do(AgentDone("another"))
    assert d.phase() is Phase.ACTIVE
    d.do(AgentDone("c1"))
    assert d.said == [state("c1", "ended", reason="hangup")]
    d.do(AgentDone("c1"))
    assert d.out == []


def test_an_agent_that_is_late_ends_no_talk_between_people() -> None:
    d = unanswered("anna")
    d.says("anna", "call.answer", call="c1")
    d.do(AgentDone("c1"))
    assert d.phase() is Phase.ACTIVE


@pytest.mark.parametrize("action", ["hangup", "toggle"])
def test_hung_up_at_the_door(action: str) -> None:
    d = unanswered("anna")
    d.press(action)
    assert d.said == [state("c1", "ended", reason="hangup")]
    assert d.sent("anna") == []


def test_a_person_answers_late() -> None:
    d = unanswered("anna", "bob")
    d.says("anna", "call.answer", call="c1")
    assert d.said == [state("c1", "active", "anna", "answered")]
    assert d.heard == [frozenset({"anna"})]
    assert not d.machine.view.attended
    d.says("bob", "call.answer", call="c1")
    assert d.sent("bob") == [state("c1", "active", "anna", "busy")]


def test_a_person_calls_the_door_meanwhile() -> None:
    d = unanswered("anna")
    d.says("anna", "call.start", call="x")
    assert d.said == [state("c1", "ended", reason="hangup"), state("x", "active", "anna", "answered")]
    assert d.heard == [frozenset(), frozenset({"anna"})]


def test_only_who_is_rung_takes_over() -> None:
    d = unanswered("anna", targets=["guard"])
    d.do(PeerJoined("carl", {"role": "guard"}))
    assert d.sent("carl") == [ATTENDED]
    d.says("anna", "call.answer", call="c1")
    assert d.sent("anna") == [state("c1", "active", "front-door", "busy") | {"agent": True}]
    d.says("anna", "call.start", call="x")
    assert d.sent("anna") == [state("x", "ended", reason="busy")]
    d.says("anna", "call.decline", call="c1")
    assert d.sent("anna") == [state("c1", "active", "front-door", "busy") | {"agent": True}]
    d.says("carl", "call.answer", call="c1")
    assert d.machine.view.peer_id == "carl"


def test_nobody_hangs_the_agent_up_from_afar() -> None:
    d = unanswered("anna")
    d.says("anna", "call.hangup", call="c1")
    assert d.out == []
    assert d.phase() is Phase.ACTIVE


def test_the_node_has_another_id_after_a_reconnect() -> None:
    d = unanswered()
    d.do(ChannelDown())
    d.do(ChannelUp("door-2"))
    assert d.said == [ATTENDED | {"by": "door-2"}]


def test_it_talks_without_a_channel() -> None:
    d = Driver(up=False, attend_s=60.0)
    d.press()
    d.wait(30)
    assert (d.phase(), d.said) == (Phase.ACTIVE, [])


def test_a_call_that_a_person_began_is_not_attended() -> None:
    d = Driver("anna", attend_s=60.0)
    d.says("anna", "call.start", call="x")
    d.wait(30)
    assert d.phase() is Phase.IDLE
    d.says("anna", "call.answer", call="x")
    assert d.sent("anna") == [error("call.answer", "this call has ended")]
