"""The hub machine: quotas, expiry, leaving, shutting down."""

from __future__ import annotations

import pytest

from edge_node.protocol.hub_events import Disconnected, HubLimits, Inject, Kick, Received, Revoke, Shutdown
from edge_node.protocol.hub_meters import MIN_RETRY_MS
from tests.support.hub_world import HubWorld


def test_a_connection_has_at_most_a_hundred_channels() -> None:
    world = HubWorld()
    anna = world.connect("anna")
    for index in range(100):
        world.now += 0.1
        world.say(anna, type="subscribe", channel=f"c{index}" if index % 2 else f"p{index}/*")
    assert world.error(anna, type="subscribe", channel="one-more") == "channel_limit_exceeded"
    assert world.ask(anna, type="subscribe", channel="c1")[0]["type"] == "ack", "a repeat is no more"
    world.say(anna, type="unsubscribe", channel="p0/*")
    assert world.ask(anna, type="subscribe", channel="one-more")[0]["type"] == "ack"


def test_the_bucket_takes_a_burst_then_a_rate_then_closes() -> None:
    world = HubWorld()
    anna = world.connect("anna")
    for _ in range(200):
        world.say(anna, type="ping")
    for _ in range(50):
        world.now += 0.0101
        world.say(anna, type="ping")
    assert not world.closed
    world.handle(Received(anna, "garbage counts, too"))
    assert world.closed == {anna: 4011} and world.machine.connections == 0
    world.say(anna, type="ping")
    world.disconnect(anna)
    assert world.machine.counters.frames == 251, "what comes after a close is not looked at"


def test_a_clock_that_stands_still_earns_nothing() -> None:
    world = HubWorld(HubLimits(rate_per_s=1, burst=1))
    anna = world.connect("anna")
    world.say(anna, type="ping")
    world.now -= 10
    world.say(anna, type="ping")
    assert world.closed == {anna: 4011}


@pytest.mark.parametrize("text", ["x" * 65537, "é" * 32769, b"\x00" * 65537])
def test_a_frame_too_large_closes(text: str | bytes) -> None:
    world = HubWorld()
    anna = world.connect("anna")
    world.handle(Received(anna, text))
    assert world.closed == {anna: 1009}


def test_a_frame_of_just_64_kb_is_taken() -> None:
    world = HubWorld()
    anna, ben = world.connect("anna"), world.connect("ben")
    world.take(ben)
    frame = '{"type":"send","to":"ben","data":"%s"}'
    world.handle(Received(anna, frame % ("x" * (65536 - len(frame) + 2))))
    assert len(world.take(ben)[0]["data"]) == 65536 - len(frame) + 2 and not world.closed


def test_a_token_ends_a_quarter_second_early() -> None:
    world = HubWorld()
    anna = world.connect("anna", expires_in_s=60)
    ben = world.connect("ben", expires_in_s=90)
    world.connect("key")
    for conn in (anna, ben):
        world.say(conn, type="subscribe", channel="home")
    world.take(ben)
    assert world.machine.deadline == world.now + 59.75
    world.tick(59.7)
    assert not world.closed
    world.tick(0.06)
    assert world.closed == {anna: 4002}
    assert [p["peerId"] for p in world.take(ben)[0]["left"]] == ["anna"]
    assert world.machine.deadline == pytest.approx(1089.75)
    world.tick(30)
    assert world.closed == {anna: 4002, ben: 4002} and world.machine.deadline is None


def test_a_token_as_good_as_over_gets_no_welcome() -> None:
    world = HubWorld()
    anna = world.connect("anna", expires_in_s=0.2)
    assert world.closed == {anna: 4002} and world.inbox[anna] == [] and world.machine.connections == 0


def test_a_full_hub_takes_nobody() -> None:
    world = HubWorld(HubLimits(max_connections=1))
    assert world.machine.max_connections == 1
    world.connect("anna")
    ben = world.connect("ben")
    assert world.closed == {ben: 4010} and world.inbox[ben] == []


def test_a_kick_closes_all_connections_of_the_peer() -> None:
    world = HubWorld()
    anna, ben, ben2 = world.connect("anna"), world.connect("ben"), world.connect("ben")
    for conn in (anna, ben, ben2):
        world.say(conn, type="subscribe", channel="home")
    world.take(anna)
    world.handle(Kick("ben"))
    assert world.closed == {ben: 4020, ben2: 4020}
    assert [p["peerId"] for p in world.take(anna)[0]["left"]] == ["ben"] and world.take(anna) == []
    world.handle(Kick("nobody"))
    assert world.machine.connections == 1


def test_shutdown_says_so_then_closes_and_is_then_empty() -> None:
    world = HubWorld()
    world.handle(Shutdown())
    anna, ben = world.connect("anna", expires_in_s=10), world.connect("ben")
    world.say(anna, type="subscribe", channel="home")
    world.handle(Shutdown(10))
    assert world.take(anna)[-1] == {"type": "going_away", "retryAfterMs": MIN_RETRY_MS}
    assert world.take(ben)[-1] == {"type": "going_away", "retryAfterMs": MIN_RETRY_MS + 5000}
    assert world.closed == {anna: 1001, ben: 1001}
    assert (world.machine.connections, world.machine.channels, world.machine.deadline) == (0, 0, None)


def test_a_newer_connection_may_replace_the_older() -> None:
    world = HubWorld(HubLimits(duplicate_peer="replace"))
    old = world.connect("door")
    new = world.connect("door")
    assert world.closed == {old: 1008} and world.machine.connections_of("door") == 1
    world.handle(Disconnected(old))
    assert world.machine.connections_of("door") == 1 and new not in world.closed


def test_over_the_quota_messages_are_dropped_and_the_rest_goes_on() -> None:
    world = HubWorld(HubLimits(quota=3, period_s=60))
    anna, ben = world.connect("anna"), world.connect("ben")
    world.say(ben, type="subscribe", channel="home")
    world.handle(Inject("home", 0, "server"))
    assert world.ask(anna, type="publish", channel="home", data=1)[0]["type"] == "ack"
    assert world.ask(anna, type="send", to="ben", data=2)[0]["type"] == "ack"
    world.take(ben)
    assert world.error(anna, type="publish", channel="home", data=3) == "over_message_quota"
    assert world.error(anna, type="send", to="ben", data=4) == "over_message_quota"
    world.handle(Inject("home", 5, "server"))
    assert world.take(ben) == [] and not world.closed
    assert (world.machine.quota.used, world.machine.quota.over) == (6, 3)
    assert world.machine.counters.dropped == {"over_quota": 3}
    assert world.ask(anna, type="subscribe", channel="home")[0]["type"] == "ack", "only messages are counted"
    world.now += 60
    assert world.ask(anna, type="send", to="ben", data=6)[0]["type"] == "ack"
    assert (world.machine.quota.used, world.machine.quota.over) == (1, 0)


def test_a_revoked_key_closes_those_who_came_with_it() -> None:
    world = HubWorld(HubLimits(leave_grace_s=3))
    anna, ben = world.connect("anna", key_id="k1"), world.connect("ben", key_id="k2")
    for conn in (anna, ben):
        world.say(conn, type="subscribe", channel="home")
    world.take(ben)
    world.handle(Revoke(frozenset({"k1", "k9"})))
    assert world.closed == {anna: 4001}
    assert [p["peerId"] for p in world.take(ben)[0]["left"]] == ["anna"]
