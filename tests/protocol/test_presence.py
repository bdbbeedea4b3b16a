"""Who sees whom in a channel of the hub."""

from __future__ import annotations

import json

import pytest

from edge_node.protocol import presence as presence_module
from edge_node.protocol.grants import scope
from edge_node.protocol.hub_events import HubLimits, Kick
from edge_node.protocol.presence import MAX_SNAPSHOT_BYTES
from tests.support.hub_world import HubWorld

ACK = {"type": "ack", "requestId": "r"}


@pytest.fixture
def world() -> HubWorld:
    return HubWorld()


def presence(channel: str, joined: tuple[str, ...] = (), left: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "type": "presence",
        "channel": channel,
        "joined": [{"peerId": p} for p in joined],
        "left": [{"peerId": p} for p in left],
    }


def test_subscribe_is_acked_then_shown_the_roster_then_told_to_others(world: HubWorld) -> None:
    anna = world.connect("anna", peer_metadata={"name": "Anna"})
    assert world.ask(anna, type="subscribe", channel="home") == [ACK, presence("home")]
    ben = world.connect("ben")
    answer = world.ask(ben, type="subscribe", channel="home")
    assert answer[0] == ACK
    assert answer[1]["joined"] == [{"peerId": "anna", "metadata": {"name": "Anna"}}] and answer[1]["left"] == []
    assert len(answer) == 2, "the joiner gets no delta about itself"
    assert world.take(anna) == [presence("home", joined=("ben",))]


def test_a_repeated_subscribe_gets_the_roster_again_and_tells_nobody(world: HubWorld) -> None:
    anna, ben = world.connect("anna"), world.connect("ben")
    world.say(anna, type="subscribe", channel="home")
    world.say(ben, type="subscribe", channel="home")
    world.take(anna)
    assert world.ask(ben, type="subscribe", channel="home") == [ACK, presence("home", joined=("anna",))]
    assert world.take(anna) == []


def test_presence_counts_connections_of_a_peer(world: HubWorld) -> None:
    anna = world.connect("anna")
    world.say(anna, type="subscribe", channel="home")
    world.take(anna)
    tabs = [world.connect("ben"), world.connect("ben")]
    for tab in tabs:
        world.take(tab)
        assert world.ask(tab, type="subscribe", channel="home") == [ACK, presence("home", joined=("anna",))]
    assert world.take(anna) == [presence("home", joined=("ben",))]
    world.disconnect(tabs[0])
    assert world.take(anna) == [] and world.machine.connections_of("ben") == 1
    assert world.ask(tabs[1], type="unsubscribe", channel="home") == [ACK]
    assert world.take(anna) == [presence("home", left=("ben",))]


def test_without_the_presence_permission_one_sees_nobody_but_is_seen(world: HubWorld) -> None:
    anna, shy = world.connect("anna"), world.connect("shy", scope(["**"], ["subscribe", "publish"]))
    world.say(anna, type="subscribe", channel="home")
    world.take(anna)
    assert world.ask(shy, type="subscribe", channel="home") == [ACK]
    assert world.take(anna) == [presence("home", joined=("shy",))]
    world.say(world.connect("ben"), type="subscribe", channel="home")
    assert world.take(shy) == []


def test_a_wildcard_subscriber_gets_concrete_names_once_and_no_presence(world: HubWorld) -> None:
    monitor, door = world.connect("monitor"), world.connect("door", peer_metadata={"n": 1})
    assert world.ask(monitor, type="subscribe", channel="telemetry/*", includeSenderMetadata=True) == [ACK]
    world.ask(monitor, type="subscribe", channel="telemetry/door")
    world.say(door, type="subscribe", channel="telemetry/door")
    world.take(monitor)
    world.say(door, type="publish", channel="telemetry/door", data=1)
    world.say(door, type="publish", channel="telemetry/a/b", data=1)
    (message,) = world.take(monitor)
    assert message["channel"] == "telemetry/door" and message["fromMetadata"] == {"n": 1}
    assert world.machine.peers("telemetry/*") == []
    for channel in ("telemetry/*", "telemetry/door"):
        assert world.ask(monitor, type="unsubscribe", channel=channel) == [ACK]
    world.say(door, type="publish", channel="telemetry/door", data=1)
    assert world.take(monitor) == []


def test_a_huge_roster_is_sent_without_metadata(world: HubWorld) -> None:
    big = {"note": "x" * 4000}
    for index in range(MAX_SNAPSHOT_BYTES // 4000 + 1):
        world.say(world.connect(f"p{index}", peer_metadata=big), type="subscribe", channel="home")
    last = world.connect("last")
    _, snapshot = world.ask(last, type="subscribe", channel="home")
    assert len(json.dumps(snapshot)) < MAX_SNAPSHOT_BYTES
    assert snapshot["joined"][0] == {"peerId": "p0"} and len(snapshot["joined"]) == MAX_SNAPSHOT_BYTES // 4000 + 1


def test_leave_grace_hides_a_short_absence() -> None:
    world = HubWorld(HubLimits(leave_grace_s=3))
    anna, door = world.connect("anna"), world.connect("door", peer_metadata={"n": 1})
    for conn in (anna, door):
        world.say(conn, type="subscribe", channel="home")
    world.take(anna)
    world.disconnect(door)
    assert sorted(p.peer_id for p in world.machine.peers("home")) == ["anna", "door"]
    assert world.error(anna, type="send", to="door", data=1) == "peer_not_found"
    again = world.connect("door")
    world.take(again)
    world.say(again, type="subscribe", channel="home")
    assert [p["peerId"] for p in world.take(again)[-1]["joined"]] == ["anna"]
    world.tick(10)
    assert world.take(anna) == [], "neither left nor joined was said"
    world.disconnect(again)
    world.tick(2.9)
    assert world.take(anna) == []
    world.tick(0.2)
    assert [p["peerId"] for p in world.take(anna)[0]["left"]] == ["door"]


def test_leave_grace_is_not_for_those_who_leave_on_purpose() -> None:
    world = HubWorld(HubLimits(leave_grace_s=3))
    anna, door = world.connect("anna"), world.connect("door")
    for conn in (anna, door):
        world.say(conn, type="subscribe", channel="home")
    world.take(anna)
    world.say(door, type="unsubscribe", channel="home")
    assert len(world.take(anna)) == 1
    world.say(door, type="subscribe", channel="home")
    world.take(anna)
    world.disconnect(door)
    world.handle(Kick("door"))
    assert [p["peerId"] for p in world.take(anna)[0]["left"]] == ["door"], "a kick ends the grace"


def test_the_grace_list_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence_module, "MAX_LEAVING", 1)
    world = HubWorld(HubLimits(leave_grace_s=3))
    anna, door, cam = (world.connect(n) for n in ("anna", "door", "cam"))
    for conn in (anna, door, cam):
        world.say(conn, type="subscribe", channel="home")
    world.take(anna)
    world.disconnect(door)
    world.disconnect(cam)
    assert [[p["peerId"] for p in frame["left"]] for frame in world.take(anna)] == [["cam"]]
