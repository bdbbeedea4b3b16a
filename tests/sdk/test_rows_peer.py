"""Rows 53 to 63: joining, leaving, messages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from edge_node.errors import (
    MeteredPeerOversizedError,
    MeteredPeerSendError,
    MeteredPeerStateError,
    MeteredRealtimeError,
    ServerRequestError,
    SignallingConnectError,
)
from edge_node.ports import WireClosed
from edge_node.protocol import payloads
from edge_node.protocol.frames import (
    Ack,
    DirectFrame,
    ErrorFrame,
    MessageFrame,
    PresenceFrame,
    PresencePeer,
    ServerFrame,
    Welcome,
)
from edge_node.realtime.events import Data, Left, PeerJoined
from edge_node.realtime.peer import MeteredPeer
from tests.support.fake_server import FakeServer, acknowledge, ignore
from tests.support.hub_client import running_hub
from tests.support.members import Diary, is_in, joined, member, presence, with_company
from tests.support.peers import Tone, peer_of
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import eventually

Call = tuple[Callable[[], Awaitable[None]], str]


def refuse(frame: dict[str, Any]) -> ServerFrame | None:
    return ErrorFrame("channel_not_authorized", frame["requestId"])


# Joining and leaving


@in_virtual_time
async def test_row_053_the_context_does_not_join_and_closes_at_the_end() -> None:
    server = FakeServer()
    async with member(server) as peer:
        assert is_in(peer, "idle") and server.attempts == []
    assert is_in(peer, "closed")
    async with member(server) as another:
        await another.join("room")
        assert is_in(another, "joined")
    assert is_in(another, "closed") and server.wire.closed_with is not None


@in_virtual_time
async def test_row_053_the_joined_context_does_both() -> None:
    server = FakeServer()
    async with member(server).joined("room", include_sender_metadata=True) as peer:
        assert is_in(peer, "joined") and server.wire.asked("subscribe")[0]["includeSenderMetadata"] is True
    assert is_in(peer, "closed")
    failing = member(server)
    with pytest.raises(MeteredPeerSendError):
        async with failing.joined("_metered/x"):
            raise AssertionError("it was entered")
    assert is_in(failing, "closed")


@in_virtual_time
async def test_row_054_only_an_idle_peer_joins() -> None:
    async def refused(peer: MeteredPeer, state: str) -> None:
        with pytest.raises(MeteredPeerStateError) as caught:
            await peer.join("other")
        error = caught.value
        assert (error.code, error.method, error.current_state) == ("invalid_state", "join", state)

    server = FakeServer(answer=ignore)
    peer = member(server)
    joining = asyncio.create_task(peer.join("room"))
    await eventually(lambda: server.wires and server.wire.sent)
    await refused(peer, "joining")
    server.wire.hear(Ack(server.wire.sent[0]["requestId"]))
    await joining
    await refused(peer, "joined")
    server.refusal = WireClosed(1006)
    server.wire.hear(WireClosed(1006))
    await eventually(lambda: is_in(peer, "reconnecting"))
    await refused(peer, "reconnecting")
    closing = asyncio.create_task(peer.close())
    await eventually(lambda: is_in(peer, "leaving"), every_s=0)
    await refused(peer, "leaving")
    await closing
    await refused(peer, "closed")


@pytest.mark.parametrize("channel", ["_metered/x", "_Metered/X", "_INTERNAL/x", "_system/"])
@in_virtual_time
async def test_row_055_reserved_channels_are_refused_without_the_network(channel: str) -> None:
    server = FakeServer()
    peer = member(server)
    with pytest.raises(MeteredPeerSendError) as caught:
        await peer.join(channel)
    assert caught.value.code == "reserved_channel" and server.attempts == [] and is_in(peer, "idle")
    await peer.close()


@in_virtual_time
async def test_row_056_a_failed_join_returns_to_idle() -> None:
    server = FakeServer(answer=refuse)
    peer = member(server)
    diary = Diary(peer)
    with pytest.raises(ServerRequestError):
        await peer.join("room")
    assert (peer.state, peer.channel, peer.peer_id) == ("idle", None, None)
    server.refusal = WireClosed(1006)
    with pytest.raises(SignallingConnectError):
        await peer.join("room")
    assert (peer.state, peer.channel, peer.peer_id) == ("idle", None, None)
    server.refusal, server.answer = None, acknowledge
    await peer.join("room")
    assert (peer.state, peer.channel, peer.peer_id) == ("joined", "room", "me")
    assert diary.states == ["joining", "idle", "joining", "idle", "joining", "joined"]
    await peer.close()


async def test_row_057_peers_come_by_event() -> None:
    async with running_hub() as hub:
        first, second = peer_of(hub, "first"), peer_of(hub, "second")
        await first.join("room")
        diary = Diary(second)
        await second.join("room")
        await eventually(lambda: second.remote_peers and first.remote_peers)
        assert diary.names == ["StateChange", "StateChange", "Joined", "PeerJoined"]
        assert diary.of(PeerJoined)[0].peer is second.remote_peers[0]
        assert second.remote_peers is not second.remote_peers, "a copy each time"
        await second.close("enough")
        assert diary.of(Left) == [Left("second", "room", "enough")]
        await eventually(lambda: not first.remote_peers)
        await first.close()


@in_virtual_time
async def test_row_057_what_comes_while_joining_is_told_after_joined() -> None:
    server = FakeServer(answer=ignore)
    peer = member(server)
    diary = Diary(peer)
    joining = asyncio.create_task(peer.join("room"))
    await eventually(lambda: server.wires and server.wire.sent)
    server.wire.hear(presence("a"), DirectFrame("a", "early"), MessageFrame("room", "a", "early"))
    server.wire.hear(Ack(server.wire.sent[0]["requestId"]))
    await joining
    assert diary.names == ["StateChange", "StateChange", "Joined", "PeerJoined", "Data", "Data"]
    await peer.close()


# Messages out


@in_virtual_time
async def test_row_058_sends_that_are_not_possible() -> None:
    server = FakeServer()
    peer = member(server)
    calls: list[Call] = [(lambda: peer.send(1), "not_joined"), (lambda: peer.send_to("x", 1), "not_joined")]
    await said_no(calls)
    await peer.join("room")
    bad: list[Any] = ["", None, 5, b"x"]
    await said_no([(lambda: peer.send_to("me", 1), "self_send")])
    await said_no([(partial(peer.send_to, target, 1), "invalid_args") for target in bad])
    server.refusal = WireClosed(1006)
    server.wire.hear(WireClosed(1006))
    await eventually(lambda: is_in(peer, "reconnecting"))
    await said_no(calls)
    await peer.close()
    await said_no(calls)
    assert [f["type"] for wire in server.wires for f in wire.sent] == ["subscribe"]


async def said_no(calls: list[Call]) -> None:
    for call, code in calls:
        with pytest.raises(MeteredPeerSendError) as caught:
            await call()
        assert caught.value.code == code


@in_virtual_time
async def test_row_059_what_is_too_large_never_leaves() -> None:
    server = FakeServer(Welcome("me", None, 1, 1000))
    peer = member(server)
    with pytest.raises(MeteredPeerOversizedError) as early:
        peer.add_track(Tone(), metadata={"x": "x" * 70_000})
    assert early.value.cap == 65536 and early.value.size > 70_000
    await peer.join("room")
    for call in (partial(peer.send, "x" * 1001), partial(peer.send_to, "a", "x" * 1001)):
        with pytest.raises(MeteredPeerOversizedError) as caught:
            await call()
        assert caught.value.cap == 1000 and caught.value.size > 1000
    with pytest.raises(ValueError):
        await peer.send(float("nan"))
    assert [f["type"] for f in server.wire.sent] == ["subscribe"]
    await peer.send("x" * 800)
    await peer.close()


@in_virtual_time
async def test_row_063_the_reserved_key_is_warned_of_and_sent(caplog: pytest.LogCaptureFixture) -> None:
    server = FakeServer()
    peer = await joined(server)
    await peer.send_to("a", {payloads.TRACK_META_KEY: 1})
    assert payloads.TRACK_META_KEY in caplog.text
    assert [f["data"] for f in server.wire.asked("send")] == [{payloads.TRACK_META_KEY: 1}]
    await peer.close()


# Messages in


@in_virtual_time
async def test_row_060_061_062_what_is_shown_of_what_is_heard() -> None:
    server = FakeServer()
    peer = await joined(server)
    diary = Diary(peer)
    server.wire.hear(
        presence("me", "a"),
        presence("b", channel="other"),
        MessageFrame("room", "stranger", 1),  # 62: anybody on the channel
        MessageFrame("room", "me", 2),  # 60: not oneself
        MessageFrame("other", "a", 3),
        DirectFrame("stranger", 4),  # 61: members only
        DirectFrame("a", 5, {"m": 1}),
        DirectFrame("a", payloads.end_of_candidates()),
        DirectFrame("a", {"type": "rtc-ice", "candidate": {}}),
        DirectFrame("a", payloads.track_meta(payloads.TrackMeta("t", {"x": 1}))),
        DirectFrame("a", {"type": "rtc-description", "description": {"type": "pranswer", "sdp": ""}}),
        MessageFrame("room", "a", {"type": "rtc-ice", "candidate": None}),
        presence(left=("a", "nobody")),
    )
    await eventually(lambda: "PeerLeft" in diary.names)
    assert diary.of(Data) == [
        Data("stranger", 1, "broadcast"),
        Data("a", 5, "direct", {"m": 1}),
        Data("a", {"type": "rtc-description", "description": {"type": "pranswer", "sdp": ""}}, "direct"),
        Data("a", {"type": "rtc-ice", "candidate": None}, "broadcast"),
    ]
    assert [e.peer.id for e in diary.of(PeerJoined)] == ["a"]
    await peer.close()


async def test_row_060_own_broadcasts_are_not_heard_on_a_real_hub() -> None:
    async with running_hub() as hub:
        one, two = peer_of(hub, "one"), peer_of(hub, "two")
        diaries = [Diary(one), Diary(two)]
        await one.join("room")
        await two.join("room")
        await eventually(lambda: one.remote_peers and two.remote_peers)
        await one.send({"from": "one"})
        await two.send({"from": "two"})
        await one.send_to("two", None)
        await two.remote_peers[0].send("direct")
        await eventually(lambda: all(len(diary.of(Data)) == 2 for diary in diaries))
        assert diaries[0].of(Data) == [Data("two", {"from": "two"}, "broadcast"), Data("two", "direct", "direct")]
        assert diaries[1].of(Data) == [Data("one", {"from": "one"}, "broadcast"), Data("one", None, "direct")]
        await two.close()
        await one.close()


@in_virtual_time
async def test_row_061_the_metadata_of_a_token_is_known_and_kept_fresh() -> None:
    server = FakeServer()
    peer = await with_company(server, "a")
    remote = peer.remote_peers[0]
    assert remote.metadata is None and "a" in repr(remote)
    server.wire.hear(PresenceFrame("room", (PresencePeer("a", {"n": 2}),)))
    await eventually(lambda: remote.metadata == {"n": 2})
    assert peer.remote_peers == [remote]
    await peer.close()
    with pytest.raises(MeteredRealtimeError):
        await remote.send("late")
