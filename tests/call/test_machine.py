"""The call machine: ringing, answering, ending."""

from __future__ import annotations

import pytest

from edge_node.call.config import CallConfig
from edge_node.call.effects import Audit, CallView, DescribeTo, LimitNear, Phase, ReleaseDoor, SnapshotTo, StateChanged
from edge_node.call.events import Action, ChannelDown, ChannelUp, DoorOutcome, PeerJoined
from edge_node.call.machine import MAX_PEERS, CallMachine
from edge_node.call.messages import Reason
from tests.support.call_driver import AT, Driver, error, state

RING = {"type": "call.ring", "call": "c1", "node": "front-door", "name": "Front door", "at": AT}


# Ringing


def test_a_press_rings_everyone() -> None:
    d = Driver("anna", "bob")
    assert d.machine.deadline is None
    d.press()
    assert d.said == [state("c1", "ringing"), RING]
    assert d.of(StateChanged) == [StateChanged(CallView(Phase.RINGING, "c1", None, None, 1000.0))]
    assert d.machine.peer_ids == {"anna", "bob"}


def test_it_rings_every_two_seconds_until_nobody_answered() -> None:
    d = Driver("anna")
    d.press()
    d.wait(29.9)
    assert d.said == [RING] * 14
    d.wait(0.1)
    assert d.said == [state("c1", "ended", reason="timeout")]
    assert d.machine.view.reason is Reason.TIMEOUT
    assert d.machine.deadline is None


def test_a_late_tick_rings_once() -> None:
    d = Driver("anna")
    d.press()
    d.now += 15
    d.wait(0)
    assert d.rung == ["*"]


def test_a_late_joiner_rings_at_once() -> None:
    d = Driver()
    d.press()
    d.wait(1)
    d.do(PeerJoined("anna"))
    assert d.sent("anna") == [RING]


def test_only_targets_ring() -> None:
    d = Driver("anna", "bob", targets=["anna", "guard"])
    d.do(PeerJoined("carl", {"role": "guard"}))
    d.press()
    assert d.rung == ["anna", "carl"]
    d.do(PeerJoined("dora"))
    assert d.rung == []
    d.do(PeerJoined("emil", {"roles": ["guard"]}))
    assert d.rung == ["emil"]
    d.says("bob", "call.answer", call="c1")
    assert d.sent("bob") == [error("call.answer", "this call rings somebody else")]
    d.says("bob", "call.decline", call="c1")
    assert d.out == []
    assert d.phase() is Phase.RINGING


def test_one_after_the_other() -> None:
    d = Driver("anna", "bob", targets=["anna", "bob", "carl"], sequential=True)
    d.press()
    assert d.rung == ["anna"]
    d.wait(9)
    assert set(d.rung) == {"anna"}
    d.wait(1)
    assert d.rung == ["bob"]
    assert d.sent("anna") == [state("c1", "ended", reason="timeout")]
    d.do(PeerJoined("carl"))
    assert d.rung == []
    d.says("bob", "call.decline", call="c1")
    assert d.rung == ["carl"]
    d.says("carl", "call.decline", call="c1")
    assert d.said == [state("c1", "ended", reason="declined")]


def test_a_joiner_of_a_later_stage_rings_when_nobody_else_does() -> None:
    d = Driver(targets=["anna", "bob"], sequential=True)
    d.press()
    d.do(PeerJoined("bob"))
    assert d.rung == ["bob"]


def test_presses_while_ringing_change_nothing() -> None:
    d = Driver("anna")
    d.press()
    d.press()
    assert d.out == [Audit("call", None, False, "button: not possible while the call is ringing")]
    assert d.machine.view.call == "c1"


@pytest.mark.parametrize("action", ["hangup", "toggle"])
def test_cancelled_at_the_door(action: str) -> None:
    d = Driver("anna")
    d.press("toggle")
    d.press(action)
    assert d.said == [state("c1", "ended", reason="cancelled")]
    assert d.heard == []


def test_declined_by_all() -> None:
    d = Driver("anna", "bob")
    d.press()
    d.says("anna", "call.decline", call="c1")
    assert d.out == []
    d.wait(2)
    assert d.rung == ["bob"]
    d.says("bob", "call.decline", call="c1")
    assert d.said == [state("c1", "ended", reason="declined")]


# Answering


def test_the_first_answer_wins() -> None:
    d = Driver("anna", "bob")
    d.press()
    d.says("anna", "call.answer", call="c1")
    assert d.said == [state("c1", "active", "anna", "answered")]
    assert d.heard == [frozenset({"anna"})]
    assert d.machine.view == CallView(Phase.ACTIVE, "c1", "anna", Reason.ANSWERED, 1000.0)
    d.says("bob", "call.answer", call="c1")
    assert d.sent("bob") == [state("c1", "active", "anna", "busy")]
    d.says("bob", "call.decline", call="c1")
    assert d.sent("bob") == [state("c1", "active", "anna", "busy")]
    d.says("anna", "call.answer", call="c1")
    assert d.sent("anna") == [state("c1", "active", "anna", "answered")]
    d.wait(10)
    assert d.out == []


def test_an_answer_after_the_end_comes_too_late() -> None:
    d = Driver("anna")
    d.press()
    d.now += 30
    d.says("anna", "call.answer", call="c1")
    assert d.said == [state("c1", "ended", reason="timeout")]
    assert d.sent("anna") == [error("call.answer", "this call has ended")]


@pytest.mark.parametrize("kind", ["call.answer", "call.decline", "call.hangup"])
def test_a_wrong_call(kind: str) -> None:
    d = Driver("anna")
    d.says("anna", kind, call="zzz")
    assert d.sent("anna") == [error(kind, "there is no such call")]
    d.press()
    d.says("anna", kind, call="zzz")
    assert d.sent("anna") == [error(kind, "there is no such call")]
    assert d.phase() is Phase.RINGING


@pytest.mark.parametrize("kind", ["call.answer", "call.decline", "call.start"])
def test_somebody_who_is_not_on_the_channel(kind: str) -> None:
    d = Driver()
    d.press()
    d.says("ghost", kind, call="c1")
    assert d.sent("ghost") == [error(kind, "join the channel of this node first")]


# Ending


def test_hung_up_by_the_answerer_only() -> None:
    d = Driver("anna", "bob")
    d.press()
    d.says("bob", "call.hangup", call="c1")
    assert d.out == []
    d.says("anna", "call.answer", call="c1")
    d.says("bob", "call.hangup", call="c1")
    assert d.out == []
    d.says("anna", "call.hangup", call="c1")
    assert d.said == [state("c1", "ended", "anna", "hangup")]
    assert d.heard == [frozenset()]


def test_hung_up_here() -> None:
    d = Driver("anna")
    d.press()
    d.says("anna", "call.answer", call="c1")
    d.press("toggle")
    assert d.said == [state("c1", "ended", "anna", "hangup")]
    assert d.sent("anna") == [{"type": "call.hangup", "call": "c1"}]


def test_the_limit() -> None:
    d = Driver("anna", max_talk_s=60.0)
    d.press()
    d.says("anna", "call.answer", call="c1")
    d.wait(59)
    assert d.out == [LimitNear()]
    d.wait(1)
    assert d.said == [state("c1", "ended", "anna", "limit")]


def test_the_answerer_leaves() -> None:
    d = Driver("anna", "bob")
    d.press()
    d.says("anna", "call.answer", call="c1")
    d.leaves("bob")
    d.leaves("anna")
    assert d.out == []
    d.wait(1)
    d.leaves("anna")
    d.wait(2)
    assert d.said == [state("c1", "ended", "anna", "peer_left")]
    assert d.heard == [frozenset()]


def test_the_answerer_comes_back() -> None:
    d = Driver("anna")
    d.press()
    d.says("anna", "call.answer", call="c1")
    d.leaves("anna")
    d.wait(2.9)
    d.do(PeerJoined("anna"))
    assert d.sent("anna") == [state("c1", "active", "anna", "answered")]
    d.wait(60)
    assert d.phase() is Phase.ACTIVE


def test_without_grace_leaving_ends() -> None:
    d = Driver("anna", peer_grace_s=0.0)
    d.press()
    d.says("anna", "call.answer", call="c1")
    d.leaves("anna")
    assert d.said == [state("c1", "ended", "anna", "peer_left")]


def test_a_newcomer_learns_of_the_call() -> None:
    d = Driver("anna")
    d.press()
    d.says("anna", "call.answer", call="c1")
    d.do(PeerJoined("bob"))
    assert d.sent("bob") == [state("c1", "active", "anna", "answered")]


# A person calls the node


def test_the_node_rings_here() -> None:
    d = Driver("anna", "bob")
    d.says("anna", "call.start", call="x")
    assert d.said == [state("x", "ringing", "anna")]
    assert d.machine.view == CallView(Phase.INCOMING, "x", "anna", None, 1000.0)
    d.says("anna", "call.start", call="x")
    assert d.sent("anna") == [state("x", "ringing", "anna")]
    for kind in ("call.answer", "call.decline"):
        d.says("anna", kind, call="x")
        assert d.sent("anna") == [error(kind, "this call waits for the node to answer")]
    d.says("bob", "call.hangup", call="x")
    assert d.out == []
    d.do(PeerJoined("carl"))
    assert d.sent("carl") == [state("x", "ringing", "anna")]


@pytest.mark.parametrize("action", ["call", "answer", "toggle"])
def test_answered_here(action: str) -> None:
    d = Driver("anna")
    d.says("anna", "call.start", call="x")
    d.press(action)
    assert d.said == [state("x", "active", "anna", "answered")]
    assert d.heard == [frozenset({"anna"})]


def test_declined_by_all_who_are_still_here() -> None:
    driver = Driver("a", "b")
    driver.press()
    driver.says("a", "call.decline", call="c1")
    driver.leaves("b")
    assert driver.machine.view.phase is Phase.IDLE
    assert driver.machine.view.reason is Reason.DECLINED


def test_it_rings_on_when_all_left_and_nobody_declined() -> None:
    driver = Driver("a")
    driver.press()
    driver.leaves("a")
    assert driver.machine.view.phase is Phase.RINGING


def test_declined_here() -> None:
    d = Driver("anna")
    d.says("anna", "call.start", call="x")
    d.press("hangup")
    assert d.said == [state("x", "ended", "anna", "declined")]
    assert d.heard == []


def test_the_caller_gives_up() -> None:
    d = Driver("anna")
    d.says("anna", "call.start", call="x")
    d.says("anna", "call.hangup", call="x")
    assert d.said == [state("x", "ended", "anna", "cancelled")]


def test_the_caller_leaves() -> None:
    d = Driver("anna")
    d.says("anna", "call.start", call="x")
    d.leaves("anna")
    d.wait(3)
    assert d.said == [state("x", "ended", "anna", "peer_left")]


def test_nobody_answers_here() -> None:
    d = Driver("anna")
    d.says("anna", "call.start", call="x")
    d.wait(30)
    assert d.said == [state("x", "ended", "anna", "timeout")]


def test_auto_answer() -> None:
    d = Driver("anna", auto_answer=True)
    d.says("anna", "call.start", call="x")
    assert d.said == [state("x", "active", "anna", "answered")]
    d.wait(120)
    assert d.said == [state("x", "ended", "anna", "limit")]


def test_busy() -> None:
    d = Driver("anna", "bob")
    d.press()
    for call in ("c1", "x"):
        d.says("bob", "call.start", call=call)
        assert d.sent("bob") == [state(call, "ended", reason="busy")]
    d.says("anna", "call.answer", call="c1")
    d.says("bob", "call.start", call="x")
    assert d.sent("bob") == [state("x", "ended", reason="busy")]
    assert d.machine.view.peer_id == "anna"


# The channel


def test_ringing_without_a_channel() -> None:
    d = Driver(up=False)
    d.press()
    d.wait(10)
    assert d.said == []
    assert d.phase() is Phase.RINGING
    d.do(ChannelUp())
    assert d.said == [state("c1", "ringing"), RING]
    d.do(ChannelDown())
    d.wait(20)
    assert d.said == []
    assert d.phase() is Phase.IDLE
    d.do(ChannelUp())
    assert d.said == [state("c1", "ended", reason="timeout")]
    d.do(ChannelDown())
    d.do(ChannelUp())
    assert d.said == []


def test_talking_without_a_channel() -> None:
    d = Driver("anna")
    d.press()
    d.says("anna", "call.answer", call="c1")
    d.do(ChannelDown())
    d.wait(60)
    assert d.phase() is Phase.ACTIVE
    d.do(ChannelUp())
    assert d.said == [state("c1", "active", "anna", "answered")]
    assert d.rung == []


# Doors


def test_an_allowed_person_opens() -> None:
    d = Driver("resident-anna")
    d.says("resident-anna", "door.open", door="door", nonce="n", at=AT)
    assert d.out == [
        Audit("open door", "resident-anna", True, "allowed"),
        ReleaseDoor("door", "resident-anna", "n"),
    ]
    d.do(DoorOutcome("door", "resident-anna", "n", True))
    assert d.sent("resident-anna") == [{"type": "door.result", "nonce": "n", "ok": True}]


def test_a_relay_that_fails() -> None:
    d = Driver()
    d.do(DoorOutcome("door", "resident-anna", "n", False, "the panel is missing"))
    assert d.sent("resident-anna") == [
        {"type": "door.result", "nonce": "n", "ok": False, "reason": "the panel is missing"}
    ]
    assert d.refusals == [Audit("open door", "resident-anna", False, "the panel is missing")]
    d.do(DoorOutcome("door", None, None, False))
    assert d.out == [Audit("open door", None, False, "it failed")]


def test_a_stranger_does_not() -> None:
    d = Driver("visitor")
    d.says("visitor", "door.open", door="door", nonce="n", at=AT)
    assert d.of(ReleaseDoor) == []
    assert d.sent("visitor") == [{"type": "door.result", "nonce": "n", "ok": False, "reason": "not allowed"}]
    assert d.refusals == [Audit("open door", "visitor", False, "not allowed")]


def test_malformed_messages_are_answered() -> None:
    d = Driver("anna")
    d.says("anna", "door.open", door="door", nonce="n")
    reason = "at must be a number of unix seconds"
    assert d.sent("anna") == [{"type": "door.result", "nonce": "n", "ok": False, "reason": reason}]
    assert d.refusals == [Audit("door.open", "anna", False, reason)]
    d.says("anna", "door.open", door="door")
    assert d.sent("anna") == [error("door.open", "nonce must be 1 to 128 printable characters")]
    d.says("anna", "call.answer", nonce="n")
    assert d.sent("anna") == [error("call.answer", "call must be 1 to 128 printable characters")]


def test_opened_here() -> None:
    d = Driver()
    d.do(Action("open:door", "c", AT, "control socket"))
    assert d.out == [Audit("open door", None, True, "control socket"), ReleaseDoor("door")]
    d.do(DoorOutcome("door", None, None, True))
    assert d.out == []
    d.press("open:gate")
    assert d.out == [Audit("open gate", None, False, "button: unknown door")]


# The rest


def test_mute() -> None:
    d = Driver("anna")
    d.press("mute")
    assert d.machine.view.muted
    d.press()
    assert d.machine.view.muted
    d.press("mute")
    assert d.machine.view == CallView(Phase.RINGING, "c2", None, None, 1000.0, muted=False)
    for action, muted in (("mute:on", True), ("mute:on", True), ("mute:off", False)):
        d.press(action)
        assert d.machine.view.muted is muted
    assert CallMachine(CallConfig("door", "Door"), muted=True).view.muted


def test_a_switch_in_its_position_cannot_be_overruled() -> None:
    d = Driver("anna")
    d.press("mute:hold")
    assert (d.machine.view.muted, d.machine.view.held) == (True, True)
    for action in ("mute", "mute:off", "mute:hold", "mute:on"):
        d.press(action)
        assert (d.machine.view.muted, d.machine.view.held) == (True, True)
    d.press()
    assert d.machine.view.held, "a call changes nothing"
    d.press("mute:release")
    assert (d.machine.view.muted, d.machine.view.held) == (False, False)


def test_a_switch_that_was_open_all_the_time_does_not_undo_privacy() -> None:
    d = Driver("anna")
    d.press("mute:on")
    d.press("mute:release")
    assert (d.machine.view.muted, d.machine.view.held) == (True, False)


@pytest.mark.parametrize("action", ["answer", "hangup", "nonsense"])
def test_actions_without_a_call(action: str) -> None:
    d = Driver()
    d.press(action)
    assert d.out == [Audit(action, None, False, "button: not possible while the call is idle")]


def test_describe() -> None:
    d = Driver()
    assert d.says("anna", "node.describe") == [DescribeTo("anna")]
    assert d.says("anna", "snapshot.get", nonce="n") == [SnapshotTo("anna", "n")]


def test_nobody_is_answered_while_the_channel_is_down() -> None:
    d = Driver("anna", up=False)
    assert d.says("anna", "call.hangup", call="c9") == []


def test_unknown_types_are_answered_with_nothing() -> None:
    d = Driver("anna")
    for _ in range(50):
        assert d.says("anna", "porch.light", state="on") == []
    assert d.machine.messages_dropped == 0


def test_a_flood_is_cut() -> None:
    d = Driver("anna", "bob")
    answered = sum(len(d.says("anna", "node.describe")) for _ in range(100))
    assert answered == 20
    assert d.machine.messages_dropped == 80
    assert d.says("bob", "node.describe")
    d.wait(1)
    assert d.says("anna", "node.describe")


def test_the_roster_is_bounded() -> None:
    d = Driver(*(f"p{i}" for i in range(MAX_PEERS)))
    d.do(PeerJoined("late"))
    assert len(d.machine.peer_ids) == MAX_PEERS
    assert d.machine.peers_ignored == 1
    d.do(PeerJoined("p0"))
    d.leaves("p1")
    d.do(PeerJoined("late"))
    assert "late" in d.machine.peer_ids


def test_the_limit_is_told_before_it_ends_the_call() -> None:
    d = Driver("anna", max_talk_s=60, warn_s=10)
    d.press()
    d.says("anna", "call.answer", call="c1")
    assert d.wait(49) == []
    assert d.wait(1) == [LimitNear()]
    assert d.wait(9) == []
    d.wait(1)
    assert d.said == [state("c1", "ended", "anna", "limit")]


@pytest.mark.parametrize(("talk_s", "warn_s"), [(60, 0), (5, 10)])
def test_a_limit_that_is_not_to_be_told_is_not(talk_s: float, warn_s: float) -> None:
    d = Driver("anna", max_talk_s=talk_s, warn_s=warn_s)
    d.press()
    d.says("anna", "call.answer", call="c1")
    d.wait(talk_s)
    assert LimitNear() not in d.all
