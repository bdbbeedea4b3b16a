"""The hub machine: welcome, answers, routing."""

from __future__ import annotations

import pytest

from edge_node.protocol.grants import scope
from edge_node.protocol.hub_events import Inject, Received
from tests.support.hub_world import HubWorld

ACK = {"type": "ack", "requestId": "r"}


@pytest.fixture
def world() -> HubWorld:
    return HubWorld()


def test_welcome_comes_first_with_the_connections_own_metadata(world: HubWorld) -> None:
    conn = world.connect("door", metadata={"iceServers": []}, peer_metadata={"name": "Door"}, expires_in_s=60)
    assert world.take(conn) == [
        {
            "type": "welcome",
            "peerId": "door",
            "expiresAt": 1060,
            "serverTime": 1000,
            "maxMessageSize": 65536,
            "metadata": {"iceServers": []},
        }
    ]
    (welcome,) = world.take(world.connect("key"))
    assert welcome["expiresAt"] is None and "metadata" not in welcome


def test_unsubscribe_of_what_is_not_held_is_acked(world: HubWorld) -> None:
    anna = world.connect("anna")
    assert world.ask(anna, type="unsubscribe", channel="home") == [ACK]
    world.say(anna, type="unsubscribe", channel="home")
    assert world.take(anna) == [], "without a request id success is silent"


def test_publish_reaches_everybody_but_the_sender_and_is_serialized_once(world: HubWorld) -> None:
    anna, ben, carl = (world.connect(name) for name in ("anna", "ben", "carl"))
    for conn in (anna, ben, carl):
        world.say(conn, type="subscribe", channel="home")
    for conn in (anna, ben, carl):
        world.take(conn)
    world.texts.clear()
    assert world.ask(anna, type="publish", channel="home", data=None) == [ACK]
    message = {"type": "message", "channel": "home", "from": "anna", "data": None}
    assert world.take(ben) == world.take(carl) == [message]
    assert [t.to for t in world.texts] == [(anna,), (ben, carl)]
    counters = world.machine.counters
    assert counters.messages == {"publish": 1} and counters.copies == {"publish": 2}


def test_senders_metadata_goes_to_those_who_asked(world: HubWorld) -> None:
    anna, ben, carl = world.connect("anna", peer_metadata={"name": "Anna"}), world.connect("b"), world.connect("c")
    world.say(ben, type="subscribe", channel="home", includeSenderMetadata=True)
    world.say(carl, type="subscribe", channel="home")
    world.take(ben), world.take(carl)
    world.say(anna, type="publish", channel="home", data=1)
    assert world.take(ben)[0]["fromMetadata"] == {"name": "Anna"}
    assert "fromMetadata" not in world.take(carl)[0]
    world.say(carl, type="publish", channel="home", data=2)
    assert "fromMetadata" not in world.take(ben)[0], "a sender without metadata has none to show"


def test_publish_without_receivers_is_acked(world: HubWorld) -> None:
    anna = world.connect("anna")
    assert world.ask(anna, type="publish", channel="nobody", data=1) == [ACK]


def test_direct_goes_to_every_connection_of_the_peer_but_the_own(world: HubWorld) -> None:
    anna, ben, ben2 = world.connect("anna", peer_metadata={"n": 1}), world.connect("ben"), world.connect("ben")
    world.take(ben), world.take(ben2)
    assert world.ask(anna, type="send", to="ben", data={"x": 1}) == [ACK]
    direct = {"type": "direct", "from": "anna", "data": {"x": 1}, "fromMetadata": {"n": 1}}
    assert world.take(ben) == world.take(ben2) == [direct]
    world.say(ben, type="send", to="ben", data=2)
    assert world.take(ben2) == [{"type": "direct", "from": "ben", "data": 2}] and world.take(ben) == []
    assert world.error(anna, type="send", to="anna", data=1) == "peer_not_found"


def test_presence_comes_before_direct(world: HubWorld) -> None:
    anna = world.connect("anna")
    world.say(anna, type="subscribe", channel="home")
    world.take(anna)
    ben = world.connect("ben")
    world.say(ben, type="subscribe", channel="home")
    world.say(ben, type="send", to="anna", data="offer")
    assert [frame["type"] for frame in world.take(anna)] == ["presence", "direct"]


def test_two_watchers_of_one_pattern_are_independent(world: HubWorld) -> None:
    one, two, door = (world.connect(n) for n in ("one", "two", "door"))
    for conn in (one, two):
        world.say(conn, type="subscribe", channel="t/*")
        world.take(conn)
    assert world.machine.peers("t/*") == []
    world.disconnect(one)
    world.say(door, type="publish", channel="t/x", data=1)
    assert len(world.take(two)) == 1 and world.take(one) == []


def test_an_escaped_pattern_reaches_the_literal_name(world: HubWorld) -> None:
    watcher, door = world.connect("w"), world.connect("d")
    assert world.ask(watcher, type="subscribe", channel=r"a\*b") == [ACK]
    world.say(door, type="publish", channel="a*b", data=1)
    world.say(door, type="publish", channel="axb", data=1)
    assert [m["channel"] for m in world.take(watcher)] == ["a*b"]


def test_ping_is_answered(world: HubWorld) -> None:
    anna = world.connect("anna")
    world.take(anna)
    world.say(anna, type="ping")
    assert world.take(anna) == [{"type": "pong"}]
    assert world.ask(anna, type="ping") == [{"type": "pong", "requestId": "r"}]


def test_what_a_credential_does_not_allow(world: HubWorld) -> None:
    reader = world.connect("r", scope(["home/*"], ["subscribe"]))
    writer = world.connect("w", scope(["home/*"], ["publish"]))
    assert world.error(reader, type="publish", channel="home/a", data=1) == "action_not_permitted"
    assert world.error(reader, type="send", to="w", data=1) == "action_not_permitted"
    assert world.error(writer, type="subscribe", channel="home/a") == "action_not_permitted"
    assert world.error(writer, type="publish", channel="work/a", data=1) == "channel_not_authorized"
    assert world.error(reader, type="subscribe", channel="home/a/b") == "channel_not_authorized"
    assert world.error(reader, type="subscribe", channel="**") == "channel_not_authorized"
    assert world.ask(reader, type="subscribe", channel="home/*") == [ACK]
    for prefix in ("_system/x", "_METERED/x", "_Internal/*"):
        assert world.error(reader, type="subscribe", channel=prefix) == "channel_reserved"
        assert world.error(writer, type="publish", channel=prefix, data=1) == "channel_reserved"


def test_bad_frames_are_answered_and_the_connection_stays(world: HubWorld) -> None:
    anna = world.connect("anna")
    assert world.error(anna, type="subscribe", channel="") == "invalid_channel"
    assert world.error(anna, type="publish", channel="x\n", data=1) == "invalid_channel"
    assert world.error(anna, type="publish", channel="x") == "missing_data"
    assert world.error(anna, type="send", to="b") == "missing_data"
    assert world.error(anna, type="send", to="", data=1) == "invalid_peer_id"
    assert world.error(anna, type="send", to="nobody", data=1) == "peer_not_found"
    assert world.error(anna, type="dance") == "unknown_type"
    assert world.error(anna, type=7) == "malformed_message"
    for raw in ("", "nope", "[]", b"\x00binary", '{"type":"publish","channel":"x","data":1e999}'):
        world.handle(Received(anna, raw))
        (answer,) = world.take(anna)
        assert answer["type"] == "error" and answer["code"] == "malformed_message" and "requestId" not in answer
    world.connect("ben")
    world.handle(Received(anna, '{"type":"send","to":"ben","data":1e999}'))
    assert world.take(anna)[0]["code"] == "malformed_message"
    assert not world.closed and world.machine.counters.errors == 14


def test_a_lone_surrogate_travels_as_an_escape(world: HubWorld) -> None:
    anna, ben = world.connect("anna"), world.connect("ben")
    world.take(ben), world.take(anna)
    world.handle(Received(anna, '{"type":"send","to":"ben","data":"\\ud800","requestId":"\\udfff"}'))
    assert world.take(ben)[0]["data"] == "\ud800"
    assert world.take(anna)[0]["requestId"] == "\udfff"


def test_deep_nesting_is_an_error_at_most(world: HubWorld) -> None:
    anna, ben = world.connect("anna"), world.connect("ben")
    world.take(ben)
    for depth in (*range(900, 1010), 30_000):
        world.now += 1
        world.handle(Received(anna, '{"type":"send","to":"ben","data":' + "[" * depth + "]" * depth + "}"))
        world.now += 1
        world.handle(Received(anna, '{"type":"publish","channel":"x","data":' + "[" * depth + "]" * depth + "}"))
    assert {frame.get("code") for frame in world.take(anna) if frame["type"] == "error"} <= {"malformed_message"}
    assert not world.closed


def test_the_control_plane_speaks_on_a_channel(world: HubWorld) -> None:
    anna = world.connect("anna")
    world.say(anna, type="subscribe", channel="home", includeSenderMetadata=True)
    world.take(anna)
    world.handle(Inject("home", {"a": 1}, "backend", {"role": "server"}))
    assert world.take(anna) == [
        {"type": "message", "channel": "home", "from": "backend", "data": {"a": 1}, "fromMetadata": {"role": "server"}}
    ]
    world.handle(Inject("home", float("nan"), "backend"))
    world.handle(Inject("nobody", 1, "backend"))
    assert world.take(anna) == []
