"""Rows 72 to 78: a full channel, drops, what is fatal, the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edge_node.errors import MeteredRealtimeError, ReconcileTimeoutError, ServerRequestError
from edge_node.ports import WireClosed
from edge_node.protocol.frames import ErrorFrame, ServerFrame
from edge_node.realtime.events import (
    Data,
    FatalError,
    Joined,
    Left,
    PeerJoined,
    PeerLeft,
    StateChange,
    TokenProviderError,
)
from edge_node.realtime.options import ReconnectOptions
from tests.support.fake_server import FakeServer, acknowledge, ignore
from tests.support.hub_client import running_hub
from tests.support.members import Diary, is_in, joined, member, presence, with_company
from tests.support.peers import Watcher, peer_of
from tests.support.virtual_time import in_virtual_time, now_s
from tests.support.waiting import eventually
from tests.support.wires import Network

QUICK = ReconnectOptions(initial_delay=0.1, jitter_ratio=0)


@in_virtual_time
async def test_row_072_peers_beyond_256_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    server = FakeServer()
    peer = await joined(server)
    server.wire.hear(presence("me", *(f"p{n:03}" for n in range(300))))
    await eventually(lambda: len(peer.remote_peers) == 256)
    assert [remote.id for remote in peer.remote_peers] == [f"p{n:03}" for n in range(256)]
    assert caplog.text.count("the channel is full") == 44
    await peer.close()


# Drops


@in_virtual_time
async def test_row_073_a_drop_keeps_the_remotes_and_comes_back() -> None:
    server = FakeServer()
    peer = await with_company(server, "a", "b", reconnect=QUICK)
    remotes, diary = peer.remote_peers, Diary(peer)
    server.wire.hear(WireClosed(1006))
    await eventually(lambda: is_in(peer, "reconnecting"))
    assert peer.remote_peers == remotes
    await eventually(lambda: len(server.wires) == 2 and server.wire.asked("subscribe"))
    assert is_in(peer, "reconnecting"), "who is there is not known yet"
    server.wire.hear(presence("me", "b", "c"))
    await eventually(lambda: is_in(peer, "joined"))
    assert diary.names == ["StateChange", "PeerLeft", "PeerJoined", "StateChange"], "departures first"
    assert peer.remote_peers[0] is remotes[1] and [r.id for r in peer.remote_peers] == ["b", "c"]
    assert diary.states == ["reconnecting", "joined"] and peer.reconnects == 1
    await peer.close()


@in_virtual_time
async def test_row_073_alone_it_is_joined_at_once() -> None:
    server = FakeServer()
    peer = await joined(server, reconnect=QUICK)
    diary = Diary(peer)
    server.wire.hear(presence("me"))
    server.wire.hear(WireClosed(1001))
    await eventually(lambda: is_in(peer, "reconnecting"))
    await eventually(lambda: is_in(peer, "joined"))
    assert diary.states == ["reconnecting", "joined"] and Joined not in map(type, diary.events)
    server.wire.hear(presence("me", "a"))
    await eventually(lambda: peer.remote_peers)
    await peer.close()


async def test_row_073_on_a_real_hub() -> None:
    network = Network()
    async with running_hub() as hub:
        peer = peer_of(hub, "a", connect=network.connect, reconnect=QUICK)
        other = peer_of(hub, "b")
        watcher, diary = Watcher(other), Diary(peer)
        await peer.join("room")
        await other.join("room")
        await eventually(lambda: peer.remote_peers and other.remote_peers)
        remote = peer.remote_peers[0]
        network.cut()
        await eventually(lambda: diary.states[-2:] == ["reconnecting", "joined"])
        await peer.send("back")
        assert peer.remote_peers == [remote] and diary.of(PeerLeft) == []
        await eventually(lambda: len(watcher.joined) == 2)
        await other.close()
        await peer.close()


# What is fatal


@pytest.mark.parametrize("code", [4001, 4002, 4003, 4012, 4020])
@in_virtual_time
async def test_row_074_075_codes_that_end_everything(code: int) -> None:
    server = FakeServer()
    peer = await with_company(server, "a", "b")
    diary = Diary(peer)
    changes = peer.events(StateChange)
    server.wire.hear(WireClosed(code, "why"))
    await eventually(lambda: is_in(peer, "closed"))
    assert diary.names == ["FatalError", "PeerLeft", "PeerLeft", "StateChange", "Left"]
    assert str(code) in str(diary.of(FatalError)[0].err) and diary.of(Left) == [Left("me", "room", "why")]
    assert peer.listener_count(Data) == 0 and peer.remote_peers == [] and (peer.channel, peer.peer_id) == (None, None)
    assert [change.to async for change in changes] == ["closed"], "the stream ended"
    await peer.close()
    assert len(server.attempts) == 1


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1009, 4011])
@in_virtual_time
async def test_row_074_codes_that_do_not(code: int) -> None:
    server = FakeServer()
    peer = await joined(server, reconnect=QUICK)
    diary = Diary(peer)
    server.wire.hear(WireClosed(code))
    await eventually(lambda: len(server.wires) == 2 and is_in(peer, "joined"))
    assert diary.of(FatalError) == []
    await peer.close()


@in_virtual_time
async def test_row_074_an_expired_token_is_replaced() -> None:
    tokens = iter(["one", "two"])

    async def provide() -> str:
        return next(tokens)

    server = FakeServer()
    peer = await joined(server, reconnect=QUICK, token_provider=provide)
    diary = Diary(peer)
    server.wire.hear(WireClosed(4002))
    await eventually(lambda: len(server.wires) == 2 and is_in(peer, "joined"))
    assert diary.of(FatalError) == []
    await peer.close()


@pytest.mark.parametrize(
    "code", ["account_suspended", "channel_not_authorized", "action_not_permitted", "invalid_token", "token_expired"]
)
@in_virtual_time
async def test_row_074_errors_that_are_fatal(code: str) -> None:
    server = FakeServer()
    peer = await joined(server)
    diary = Diary(peer)
    server.wire.hear(ErrorFrame("over_message_quota"), ErrorFrame(code))
    await eventually(lambda: diary.events)
    (event,) = diary.events
    assert isinstance(event.err, ServerRequestError) and event.err.code == code and is_in(peer, "joined")
    await peer.close()


@in_virtual_time
async def test_row_074_a_token_provider_that_fails_is_fatal() -> None:
    wrong = RuntimeError("no token")
    script: list[Any] = ["one", wrong, wrong, wrong]

    async def provide() -> str:
        step = script.pop(0) if script else "two"
        if isinstance(step, Exception):
            raise step
        return str(step)

    server = FakeServer()
    peer = await joined(server, token_provider=provide, reconnect=QUICK)
    diary, told = Diary(peer), list[TokenProviderError]()
    peer._client.on(TokenProviderError, told.append)
    server.wire.hear(WireClosed(1006))
    await eventually(lambda: len(server.wires) == 2 and is_in(peer, "joined"), 60)
    assert [e.err for e in diary.of(FatalError)] == [wrong] and [e.consecutive_failures for e in told] == [3]
    await peer.close()


@in_virtual_time
async def test_row_078_no_roster_after_a_reconnect_is_fatal() -> None:
    server = FakeServer()
    peer = await with_company(server, "a", reconnect=QUICK)
    diary = Diary(peer)
    server.wire.hear(WireClosed(1006))
    await eventually(lambda: len(server.wires) == 2 and server.wire.asked("subscribe"))
    began = now_s()
    await eventually(lambda: diary.of(FatalError), 60)
    assert isinstance(diary.of(FatalError)[0].err, ReconcileTimeoutError)
    assert now_s() - began == pytest.approx(30, abs=0.1) and len(server.wire.asked("subscribe")) == 3
    assert is_in(peer, "reconnecting") and len(peer.remote_peers) == 1
    server.wire.hear(presence("me", "b"))  # better late than never
    await eventually(lambda: is_in(peer, "joined"))
    assert [remote.id for remote in peer.remote_peers] == ["b"]
    await peer.close()


@in_virtual_time
async def test_row_078_another_drop_starts_the_wait_anew() -> None:
    server = FakeServer()
    peer = await with_company(server, "a", reconnect=QUICK)
    diary = Diary(peer)
    for count in (2, 3, 4):
        server.wire.hear(WireClosed(1006))
        await eventually(lambda: len(server.wires) == count and server.wire.asked("subscribe"))  # noqa: B023
        await asyncio.sleep(25)
    assert diary.of(FatalError) == []
    await eventually(lambda: diary.of(FatalError), 60)
    await peer.close()


# The end


@in_virtual_time
async def test_row_076_closing_is_final_and_may_be_said_often() -> None:
    server = FakeServer()
    peer = await with_company(server, "a")
    diary = Diary(peer)
    await asyncio.gather(peer.close("bye"), peer.close("later"))
    await peer.close()
    assert diary.states == ["leaving", "closed"] and diary.of(Left) == [Left("me", "room", "bye")]
    assert server.wire.closed_with is not None and peer.listener_count(Data) == 0
    idle = member(FakeServer())
    idle_diary = Diary(idle)
    await idle.close()
    assert is_in(idle, "closed") and idle_diary.of(Left) == [], "it was never there"


@in_virtual_time
async def test_row_076_no_socket_stays_after_a_failed_join() -> None:
    server = FakeServer(answer=lambda frame: ErrorFrame("channel_not_authorized", frame["requestId"]))
    peer = member(server)
    with pytest.raises(ServerRequestError):
        await peer.join("room")
    assert server.wire.closed_with is not None
    await peer.close()


@pytest.mark.parametrize("kind", [PeerLeft, PeerJoined])
@in_virtual_time
async def test_row_076_any_handler_may_close(kind: type[PeerLeft] | type[PeerJoined]) -> None:
    server = FakeServer()
    peer = await joined(server)
    closed: list[Any] = []

    async def close(event: Any) -> None:
        await peer.close()
        closed.append(event)

    peer.on(kind, close)
    server.wire.hear(presence("a"), presence(left=("a",)))
    await eventually(lambda: closed and is_in(peer, "closed"), 30)


@in_virtual_time
async def test_row_076_a_handler_of_a_remote_may_close_as_well() -> None:
    server = FakeServer()
    peer = await joined(server)

    async def close(event: StateChange) -> None:
        await peer.close()

    peer.on(PeerJoined, lambda event: event.peer.on(StateChange, close))
    server.wire.hear(presence("a"), presence(left=("a",)))
    await eventually(lambda: is_in(peer, "closed"), 30)


@in_virtual_time
async def test_row_077_a_drop_while_joining_leaves_nothing_behind() -> None:
    server = FakeServer(answer=ignore)
    peer = member(server, reconnect=QUICK)
    joining = asyncio.create_task(peer.join("room"))
    await eventually(lambda: server.wires and server.wire.sent)
    server.wire.hear(WireClosed(1006))
    with pytest.raises(MeteredRealtimeError):
        await joining
    await asyncio.sleep(60)
    assert is_in(peer, "idle") and len(server.attempts) == 1 and peer._client.state == "closed"
    server.answer = acknowledge
    await peer.join("room")
    await peer.close()


@in_virtual_time
async def test_row_077_a_patient_join_outlives_a_drop() -> None:
    def answer(frame: dict[str, Any]) -> ServerFrame | None:
        if len(server.wires) < 3:
            server.wire.hear(WireClosed(1006))
            return None
        return acknowledge(frame)

    server = FakeServer(answer=answer)
    peer = member(server, connect_retry=True, reconnect=QUICK)
    await peer.join("room")
    assert is_in(peer, "joined") and len(server.wires) == 3
    await peer.close()


@in_virtual_time
async def test_row_077_closing_ends_a_patient_join() -> None:
    server = FakeServer()
    server.refusal = WireClosed(1006)
    peer = member(server, connect_retry=True)
    joining = asyncio.create_task(peer.join("room"))
    await eventually(lambda: len(server.attempts) > 2)
    await peer.close()
    with pytest.raises(MeteredRealtimeError):
        await joining
    tried = len(server.attempts)
    await asyncio.sleep(120)
    assert is_in(peer, "closed") and len(server.attempts) == tried
