from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from edge_node.errors import (
    AckTimeoutError,
    DisconnectedError,
    MeteredPeerOversizedError,
    NotConnectedError,
    ServerRequestError,
)
from edge_node.protocol import session
from edge_node.protocol import session_events as s
from edge_node.protocol.backoff import BackoffPolicy
from edge_node.protocol.codec import encode
from edge_node.protocol.frames import (
    Ack,
    DirectFrame,
    ErrorFrame,
    GoingAwayFrame,
    MessageFrame,
    Pong,
    PresenceFrame,
    Publish,
    Send,
    Subscribe,
    Unsubscribe,
    Welcome,
)
from tests.support.property import patient


class World:
    """A session with its clock, its socket and what it was told to do."""

    def __init__(self, **policy: Any) -> None:
        self.session = session.Session(s.SessionPolicy(**policy), "id")
        self.now = 1000.0
        self.wire = 0
        self.done: list[s.Effect] = []

    def apply(self, effects: list[s.Effect]) -> list[s.Effect]:
        for effect in effects:
            if isinstance(effect, s.OpenSocket):
                self.wire = effect.wire
        self.done += effects
        return effects

    def handle(self, event: s.SessionEvent) -> list[s.Effect]:
        return self.apply(self.session.handle(event, self.now))

    def wait(self, seconds: float) -> list[s.Effect]:
        """Time passes; ticks come when they are due."""
        end = self.now + seconds
        effects: list[s.Effect] = []
        while (deadline := self.session.deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            effects += self.apply(self.session.tick(self.now))
        self.now = end
        return effects

    def hear(self, frame: Any) -> list[s.Effect]:
        return self.handle(s.Received(self.wire, encode(frame)))

    def lose(self, code: int = 1006, reason: str = "") -> list[s.Effect]:
        return self.handle(s.Lost(self.wire, code, reason))

    def welcome(self, peer_id: str = "me", size: int = 65536) -> list[s.Effect]:
        self.handle(s.Opened(self.wire))
        return self.hear(Welcome(peer_id, None, 1, size))

    def connect(self) -> World:
        self.handle(s.Connect())
        self.welcome()
        return self

    def ask(self, frame: Any) -> tuple[str, list[s.Effect]]:
        rid = self.session.new_id()
        return rid, self.handle(s.Request(type(frame)(*(getattr(frame, n) for n in frame.__slots__[:-1]), rid)))

    def subscribe(self, channel: str = "c") -> str:
        rid = self.session.new_id()
        self.handle(s.Request(Subscribe(channel, rid)))
        return rid


def sent(effects: list[s.Effect]) -> list[dict[str, Any]]:
    return [json.loads(e.text) for e in effects if isinstance(e, s.SendText)]


def request(world: World, frame: Any) -> list[s.Effect]:
    return world.handle(s.Request(frame))


def test_connecting() -> None:
    world = World()
    assert world.handle(s.Connect()) == [s.StateChanged("idle", "connecting"), s.OpenSocket(1)]
    assert world.handle(s.Connect()) == []
    assert world.handle(s.Opened(1)) == []
    welcome = Welcome("me", None, 1, 100, {"a": 1})
    assert world.hear(welcome) == [s.StateChanged("connecting", "connected"), s.Welcomed(welcome, False)]
    assert world.session.max_message_bytes == 100
    assert world.hear(welcome) == []


def test_a_first_failure_is_final() -> None:
    world = World()
    world.handle(s.Connect())
    closed, failed = world.lose(4001, "bad key")
    assert closed == s.StateChanged("connecting", "closed")
    assert isinstance(failed, s.ConnectFailed)
    assert (failed.error.close_code, failed.error.close_reason) == (4001, "bad key")
    assert world.session.deadline is None
    assert world.handle(s.Connect())[1] == s.OpenSocket(2)


def test_no_welcome_in_time() -> None:
    world = World()
    world.handle(s.Connect())
    world.handle(s.Opened(1))
    effects = world.wait(10)
    assert effects[0] == s.CloseSocket(1, 1008, "no welcome in time")
    assert isinstance(effects[-1], s.ConnectFailed)


def test_d9_the_first_connection_can_be_retried_for_ever() -> None:
    world = World(retry_first=True, reconnect=BackoffPolicy(max_attempts=float("inf")))
    world.handle(s.Connect())
    for _ in range(200):
        assert world.lose(1006) == []
        assert s.OpenSocket(world.wire + 1) in world.wait(40)
    assert world.welcome()[0] == s.StateChanged("connecting", "connected")


def test_d9_but_not_a_refusal() -> None:
    world = World(retry_first=True)
    world.handle(s.Connect())
    assert isinstance(world.lose(4001)[-1], s.ConnectFailed)


def test_reconnecting() -> None:
    world = World().connect()
    assert world.lose(1006, "broken") == [
        s.StateChanged("connected", "reconnecting"),
        s.Dropped(1006, "broken", True),
    ]
    assert world.wait(0.49) == []
    assert world.wait(0.01) == [s.OpenSocket(2)]
    assert world.welcome("other")[1] == s.Welcomed(Welcome("other", None, 1, 65536), True)
    assert world.session.reconnects == 1


def test_a_welcome_that_comes_twice_and_a_pong_change_nothing() -> None:
    world = World().connect()
    assert world.hear(Pong()) == [] and world.hear(Welcome("other", None, 1, 5)) == []
    assert world.session.max_message_bytes == 65536


def test_a_tick_that_comes_early_does_nothing() -> None:
    world = World()
    assert world.session.tick(0) == []
    world.handle(s.Connect())
    assert world.session.tick(world.now) == []


def test_what_an_old_socket_says_is_ignored() -> None:
    world = World().connect()
    world.lose()
    assert world.handle(s.Received(1, encode(Pong()))) == []
    assert world.handle(s.Lost(1, 1006)) == []
    world.wait(1)
    assert world.handle(s.Lost(1, 1006)) == []


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1009, 4002, 4011])
def test_codes_that_are_retried(code: int) -> None:
    world = World().connect()
    assert world.lose(code)[-1] == s.Dropped(code, "", True)


@pytest.mark.parametrize("code", sorted(s.TERMINAL_CODES))
def test_codes_that_are_final(code: int) -> None:
    world = World().connect()
    assert world.lose(code, "why") == [s.StateChanged("connected", "closed"), s.Dropped(code, "why", False)]
    assert world.session.deadline is None


def test_without_reconnect_a_drop_is_final() -> None:
    world = World(reconnect=None).connect()
    assert world.lose()[-1] == s.Dropped(1006, "", False)


def test_attempts_end() -> None:
    world = World(reconnect=BackoffPolicy(max_attempts=1)).connect()
    world.lose()
    world.wait(1)
    assert world.lose()[-1] == s.Dropped(1006, "", False)


def test_over_the_limit_waits_once() -> None:
    world = World().connect()
    world.lose(4010)
    assert world.wait(29.9) == [] and world.wait(0.1) == [s.OpenSocket(2)]
    world.lose(1006)
    assert world.wait(1.0) == [s.OpenSocket(3)]


def test_d10_going_away_is_honoured_and_spread() -> None:
    world = World().connect()
    assert world.hear(GoingAwayFrame(3000)) == [s.Delivered(GoingAwayFrame(3000))]
    world.handle(s.Lost(world.wire, 1001, "", 1.0))
    assert world.wait(3.59) == [] and world.wait(0.02) == [s.OpenSocket(2)]


def test_d11_a_server_that_accepts_and_closes_is_not_stormed() -> None:
    world = World().connect()
    waits = []
    for _ in range(5):
        world.lose()
        began = world.now
        deadline = world.session.deadline
        assert deadline is not None
        world.wait(deadline - began)
        waits.append(world.now - began)
        world.welcome()
    assert waits == [0.5, 1, 2, 4, 8]


def test_tokens_that_fail() -> None:
    world = World().connect()
    world.lose()
    error = ValueError("no")
    told = []
    for _ in range(4):
        world.wait(40)
        told += [e for e in world.handle(s.TokenFailed(world.wire, error)) if isinstance(e, s.TokenTrouble)]
    assert told == [s.TokenTrouble(3, error), s.TokenTrouble(4, error)]
    world.wait(40)
    world.welcome()
    world.lose()
    world.wait(40)
    assert not any(isinstance(e, s.TokenTrouble) for e in world.handle(s.TokenFailed(world.wire, error)))


def test_a_token_that_fails_at_first() -> None:
    world = World()
    world.handle(s.Connect())
    failed = world.handle(s.TokenFailed(1, ValueError("secret")))[-1]
    assert isinstance(failed, s.ConnectFailed) and "secret" not in str(failed.error)


# Requests


@pytest.mark.parametrize("frame", [Subscribe("c", "r"), Unsubscribe("c", "r"), Publish("c", 1, "r"), Send("p", 1, "r")])
def test_requests_are_acknowledged(frame: Any) -> None:
    world = World().connect()
    assert request(world, frame) == [s.SendText(encode(frame))]
    assert world.hear(Ack("r")) == [s.Resolved("r")]
    assert world.hear(Ack("r")) == []


def test_requests_that_fail() -> None:
    world = World().connect()
    request(world, Publish("c", 1, "r"))
    (rejected,) = world.hear(ErrorFrame("brand_new", "r", "because"))
    assert isinstance(rejected, s.Rejected) and isinstance(rejected.error, ServerRequestError)
    assert (rejected.error.code, rejected.error.request_id) == ("brand_new", "r") and "because" in str(rejected.error)
    assert world.hear(ErrorFrame("brand_new", "r")) == []


def test_requests_without_an_answer() -> None:
    world = World(inactivity_s=0).connect()
    request(world, Publish("c", 1, "r"))
    assert world.wait(14.9) == []
    (rejected,) = world.wait(0.1)
    assert isinstance(rejected, s.Rejected) and isinstance(rejected.error, AckTimeoutError)
    assert rejected.error.timeout == 15


def test_requests_when_the_connection_is_lost_or_not_there() -> None:
    world = World().connect()
    request(world, Publish("c", 1, "r"))
    rejected = world.lose()[0]
    assert isinstance(rejected, s.Rejected) and isinstance(rejected.error, DisconnectedError)
    (refused,) = request(world, Publish("c", 1, "q"))
    assert isinstance(refused, s.Rejected) and isinstance(refused.error, NotConnectedError)


def test_d17_the_whole_frame_counts() -> None:
    world = World()
    world.handle(s.Connect())
    world.welcome(size=100)
    (rejected,) = request(world, Publish("c", "x" * 60, "r"))
    assert isinstance(rejected, s.Rejected) and isinstance(rejected.error, MeteredPeerOversizedError)
    assert rejected.error.cap == 100 < rejected.error.size


@pytest.mark.parametrize("data", [float("nan"), float("inf"), object()])
def test_data_that_cannot_be_sent(data: Any) -> None:
    world = World().connect()
    with pytest.raises((ValueError, TypeError)):
        request(world, Publish("c", data, "r"))
    assert world.session.deadline == world.now + 20  # nothing waits for an answer


def test_what_is_delivered() -> None:
    world = World().connect()
    for frame in (
        MessageFrame("c", "p", 1),
        DirectFrame("p", 1),
        PresenceFrame("c"),
        ErrorFrame("over_message_quota"),
    ):
        assert world.hear(frame) == [s.Delivered(frame)]
    assert world.hear(ErrorFrame("unknown_type")) == []
    assert world.handle(s.Received(world.wire, "{")) != []
    assert isinstance(world.handle(s.Received(world.wire, "{"))[0], s.Skipped)


def test_nothing_is_delivered_before_welcome() -> None:
    world = World()
    world.handle(s.Connect())
    assert world.hear(PresenceFrame("c")) == [s.Skipped("a frame before welcome")]


# Ping and watchdog


def test_pings_and_the_watchdog() -> None:
    world = World(inactivity_s=60).connect()
    assert sent(world.wait(20)) == [{"type": "ping"}]
    world.hear(Pong())
    assert sent(world.wait(45)) == [{"type": "ping"}] * 2
    effects = world.wait(15)
    assert s.CloseSocket(1, 4000, "nothing heard from the server") in effects
    assert effects[-1] == s.Dropped(4000, "nothing heard from the server", True)


def test_pings_come_at_most_each_second() -> None:
    world = World(inactivity_s=1.5).connect()
    assert len(sent(world.wait(1.4))) == 1


def test_d19_no_watchdog() -> None:
    world = World(inactivity_s=0).connect()
    assert world.session.deadline is None
    assert world.session.tick(10**9) == []


# Subscribing again


def test_channels_are_subscribed_again() -> None:
    world = World().connect()
    world.hear(Ack(world.subscribe("a")))
    world.handle(s.Request(Subscribe("b", "rb", True)))
    world.handle(s.Request(Subscribe("gone", "rg")))
    world.handle(s.Request(Unsubscribe("gone", "ru")))
    assert world.session.channels == ("a", "b")
    world.lose()
    world.wait(1)
    frames = sent(world.welcome())
    assert [(f["channel"], f.get("includeSenderMetadata", False)) for f in frames] == [("a", False), ("b", True)]
    assert world.hear(Ack(frames[0]["requestId"])) == []


def test_channels_are_not_subscribed_again_unasked() -> None:
    world = World(auto_resubscribe=False).connect()
    world.hear(Ack(world.subscribe()))
    world.lose()
    world.wait(1)
    assert sent(world.welcome()) == []


def again(world: World) -> dict[str, Any]:
    world.hear(Ack(world.subscribe()))
    world.lose()
    world.wait(1)
    (frame,) = sent(world.welcome())
    return frame


def test_a_replay_that_fails_is_tried_three_times_more() -> None:
    world = World(inactivity_s=0).connect()
    frame = again(world)
    for _ in range(3):
        assert world.hear(ErrorFrame("backend_error", frame["requestId"])) == []
        (frame,) = sent(world.wait(2))
    assert world.hear(ErrorFrame("backend_error", frame["requestId"])) == []
    assert world.wait(100) == [] and world.session.channels == ("c",)


def test_a_replay_without_an_answer_is_tried_again() -> None:
    world = World(inactivity_s=0).connect()
    again(world)
    assert world.wait(15) == []
    assert len(sent(world.wait(2))) == 1


def test_a_retry_dies_with_its_socket() -> None:
    world = World(inactivity_s=0).connect()
    frame = again(world)
    world.hear(ErrorFrame("backend_error", frame["requestId"]))
    world.lose()
    world.wait(1)
    assert len(sent(world.welcome())) == 1
    assert world.wait(10) == []


def test_an_unsubscribed_channel_is_not_retried() -> None:
    world = World(inactivity_s=0).connect()
    frame = again(world)
    world.handle(s.Request(Unsubscribe("c", "u")))
    world.hear(Ack("u"))
    world.hear(ErrorFrame("backend_error", frame["requestId"]))
    assert world.wait(10) == []


def test_d22_what_is_refused_for_good_is_forgotten() -> None:
    world = World().connect()
    rid = world.subscribe()
    world.hear(ErrorFrame("channel_not_authorized", rid))
    assert world.session.channels == ()
    frame = again(world)
    refusal = ErrorFrame("action_not_permitted", frame["requestId"])
    assert world.hear(refusal) == [s.Delivered(refusal)]
    assert world.session.channels == ()


def test_a_channel_that_was_held_survives_a_later_refusal() -> None:
    world = World().connect()
    world.hear(Ack(world.subscribe()))
    world.hear(ErrorFrame("backend_error", world.subscribe()))
    assert world.session.channels == ("c",)


# Closing


def test_closing() -> None:
    world = World().connect()
    request(world, Publish("c", 1, "r"))
    effects = world.handle(s.Close(1000, "bye"))
    assert effects[0] == s.CloseSocket(1, 1000, "bye")
    assert isinstance(effects[1], s.Rejected)
    assert effects[2:] == [s.StateChanged("connected", "closed"), s.Dropped(1000, "bye", False)]
    assert world.handle(s.Close()) == [] and world.session.deadline is None


def test_closing_before_and_between_connections() -> None:
    world = World()
    assert world.handle(s.Close()) == [s.StateChanged("idle", "closed")]
    world.handle(s.Connect())
    assert isinstance(world.handle(s.Close())[-1], s.ConnectFailed)
    world = World().connect()
    world.lose()
    assert world.handle(s.Close())[-1] == s.Dropped(1000, "", False)
    assert world.wait(100) == []


# Properties


class AnyOrder(RuleBasedStateMachine):
    """Whatever comes in whatever order: each request is answered once, and the session always knows how to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(reconnect=BackoffPolicy(max_attempts=float("inf")), retry_first=True)
        self.open: set[str] = set()

    def saw(self, effects: list[s.Effect]) -> None:
        for effect in effects:
            if isinstance(effect, s.Resolved | s.Rejected):
                self.open.remove(effect.request_id)

    @rule()
    def connect(self) -> None:
        self.saw(self.world.handle(s.Connect()))

    @rule(peer=st.sampled_from(["me", "you"]))
    def welcome(self, peer: str) -> None:
        self.saw(self.world.welcome(peer))

    @rule(seconds=st.floats(0, 90))
    def wait(self, seconds: float) -> None:
        self.saw(self.world.wait(seconds))

    @rule(code=st.sampled_from([1000, 1001, 1006, 4010, 4001]))
    def lose(self, code: int) -> None:
        self.saw(self.world.lose(code))

    @rule(channel=st.sampled_from("ab"))
    def subscribe(self, channel: str) -> None:
        rid = self.world.session.new_id()
        self.open.add(rid)
        self.saw(self.world.handle(s.Request(Subscribe(channel, rid))))

    @rule(channel=st.sampled_from("ab"))
    def unsubscribe(self, channel: str) -> None:
        rid = self.world.session.new_id()
        self.open.add(rid)
        self.saw(self.world.handle(s.Request(Unsubscribe(channel, rid))))

    @rule(data=st.data(), code=st.sampled_from([None, "backend_error", "channel_not_authorized"]))
    def answer(self, data: st.DataObject, code: str | None) -> None:
        if self.open:
            rid = data.draw(st.sampled_from(sorted(self.open)))
            self.saw(self.world.hear(Ack(rid) if code is None else ErrorFrame(code, rid)))

    @rule()
    def close(self) -> None:
        self.saw(self.world.handle(s.Close()))

    @invariant()
    def it_goes_on(self) -> None:
        session = self.world.session
        if session.state == "reconnecting":
            assert session.deadline is not None or self.world.session._wire_up
        if session.state in ("idle", "closed"):
            assert session.deadline is None and not self.open and session.channels == ()
        assert len(session.channels) <= 2


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = patient


@patient
@given(st.lists(st.text(max_size=30), max_size=20))
def test_any_text_leaves_the_session_sound(texts: list[str]) -> None:
    world = World().connect()
    for text in texts:
        world.handle(s.Received(world.wire, text))
    assert world.session.state == "connected"
