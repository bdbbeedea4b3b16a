"""What holds after any sequence of events."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edge_node.call.effects import AGENT, AllowAudio, Broadcast, Effect, Phase, ReleaseDoor, SendTo, StateChanged
from edge_node.call.events import AgentDone, ChannelDown, ChannelUp, DoorOutcome, PeerJoined
from tests.support.call_driver import AT, Driver

PEERS = st.sampled_from(["resident-anna", "bob", "carl", "3f2b8c1e-9d47-4a55-8b0e-1c2d3e4f5a6b"])
KINDS = st.sampled_from(["answer", "decline", "hangup", "start"])
CALLS = st.sampled_from(["c1", "c2", "c3", "x", "y"])
ACTIONS = st.sampled_from(["call", "answer", "hangup", "toggle", "mute", "open:door", "open:gate"])
TARGETS = st.sampled_from([[], ["bob"], ["resident-*", "bob"], ["guard", "bob", "resident-anna"]])


class AnySequence(RuleBasedStateMachine):
    """Draws events; checks after each what was said and done."""

    d: Driver

    @initialize(
        wanted=TARGETS,
        here=st.sets(PEERS),
        sequential=st.booleans(),
        auto=st.booleans(),
        grace_s=st.sampled_from([0.0, 3.0]),
        up=st.booleans(),
        rung=st.booleans(),
        attend_s=st.sampled_from([None, 20.0]),
    )
    def start(
        self,
        wanted: list[str],
        here: set[str],
        sequential: bool,
        auto: bool,
        grace_s: float,
        up: bool,
        rung: bool,
        attend_s: float | None,
    ) -> None:
        self.up = up
        self.heard: frozenset[str] = frozenset()
        self.current: tuple[str, str | None] | None = None
        self.rung_in_call = 0
        self.joins_in_call = 0
        self.answered: set[tuple[str | None, str | None]] = set()
        self.d = Driver(
            *sorted(here),
            up=up,
            targets=wanted,
            sequential=sequential,
            auto_answer=auto,
            is_rung=rung,
            attend_s=attend_s,
            peer_grace_s=grace_s,
            max_talk_s=50.0,
        )

    @rule(action=ACTIONS)
    def local(self, action: str) -> None:
        self.check(self.d.press(action))

    @rule(peer=PEERS, kind=KINDS, call=CALLS)
    def message(self, peer: str, kind: str, call: str) -> None:
        self.check(self.d.says(peer, f"call.{kind}", call=call))

    @rule(peer=PEERS, kind=KINDS)
    def message_of_this_call(self, peer: str, kind: str) -> None:
        self.check(self.d.says(peer, f"call.{kind}", call=self.d.machine.view.call or "c1"))

    @rule(peer=PEERS, call=CALLS)
    def another_node_rings(self, peer: str, call: str) -> None:
        self.check(self.d.hears(peer, "call.ring", call=call, at=AT))

    @rule(peer=PEERS, by=st.one_of(PEERS, st.just("front-door")), name=st.sampled_from(["ringing", "active", "ended"]))
    def another_node_tells(self, peer: str, by: str, name: str) -> None:
        self.check(self.d.hears(peer, "call.state", call=self.d.machine.view.call or "c1", state=name, by=by))

    @rule(call=CALLS)
    def the_agent_is_done(self, call: str) -> None:
        self.check(self.d.do(AgentDone(call)))

    @rule(peer=PEERS)
    def another_node_refuses(self, peer: str) -> None:
        self.check(self.d.says(peer, "error", of="call.answer"))

    @rule(first=PEERS, second=PEERS)
    def two_answers(self, first: str, second: str) -> None:
        for peer in (first, second):
            self.check(self.d.says(peer, "call.answer", call=self.d.machine.view.call or "c1"))

    @rule(peer=PEERS, door=st.sampled_from(["door", "gate"]), nonce=st.sampled_from("abc"))
    def open(self, peer: str, door: str, nonce: str) -> None:
        out = self.d.says(peer, "door.open", door=door, nonce=nonce, at=AT)
        self.check(out)
        for effect in out:
            if isinstance(effect, ReleaseDoor):
                assert (peer, door) == ("resident-anna", "door")
                self.check(self.d.do(DoorOutcome(effect.door, effect.peer_id, effect.nonce, True)))

    @rule(peer=PEERS, role=st.sampled_from([None, "guard"]))
    def join(self, peer: str, role: str | None) -> None:
        self.joins_in_call += 1
        self.check(self.d.do(PeerJoined(peer, {"role": role})))

    @rule(peer=PEERS)
    def leave(self, peer: str) -> None:
        self.check(self.d.leaves(peer))

    @rule(up=st.booleans())
    def channel(self, up: bool) -> None:
        self.up = up
        self.joins_in_call += up
        self.check(self.d.do(ChannelUp("front-door") if up else ChannelDown()))

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 10.0, 31.0, 51.0]), in_one_step=st.booleans())
    def wait(self, seconds: float, in_one_step: bool) -> None:
        if in_one_step:
            self.d.now += seconds
            seconds = 0.0
        self.check(self.d.wait(seconds))

    def check(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case StateChanged(view):
                    self.check_change(view.phase, view.call, view.peer_id)
                case AllowAudio(peer_ids):
                    assert len(peer_ids) <= 1
                    self.heard = peer_ids
                case Broadcast(data) | SendTo(_, data):
                    assert self.up
                    self.check_data(data)
                    if isinstance(effect, SendTo) and data["type"] == "call.answer":
                        self.answered.add((effect.peer_id, data["call"]))
                case _:
                    pass

    def check_change(self, phase: Phase, call: str | None, peer_id: str | None) -> None:
        if phase is Phase.IDLE:
            self.current = None
            return
        assert call is not None
        if self.current is None:
            self.rung_in_call = self.joins_in_call = 0
        else:
            assert self.current[0] == call, "a call ends before the next begins"
            assert self.current[1] in (None, peer_id), "there is never a second answerer"
        self.current = (call, peer_id)

    def check_data(self, data: dict[str, Any]) -> None:
        if data["type"] == "call.ring":
            self.rung_in_call += 1

    @invariant()
    def only_the_one_in_the_call_is_heard(self) -> None:
        view = self.d.machine.view
        who = AGENT if view.attended else view.peer_id
        assert self.heard == ({who} if view.phase is Phase.ACTIVE else set())

    @invariant()
    def time_always_ends_a_call(self) -> None:
        view, deadline = self.d.machine.view, self.d.machine.deadline
        assert (deadline is None) == (view.phase is Phase.IDLE)
        if deadline is not None:
            assert deadline >= self.d.now
            # Another node's ring lasts as long as that node rings.
            assert deadline <= (self.d.now if view.theirs else view.since) + 50.0

    @invariant()
    def a_microphone_opens_for_who_was_answered_here(self) -> None:
        view = self.d.machine.view
        if view.theirs and view.phase is Phase.ACTIVE:
            assert (view.peer_id, view.call) in self.answered

    @invariant()
    def rings_are_bounded(self) -> None:
        # 15 rounds in 30 s, 3 stages, a round for each join; 4 people.
        assert self.rung_in_call <= (15 + 3 + self.joins_in_call) * 4

    def teardown(self) -> None:
        self.check(self.d.wait(100.0))
        assert self.d.phase() is Phase.IDLE


AnySequence.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnySequence = AnySequence.TestCase
