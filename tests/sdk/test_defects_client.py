"""Defects of the reference in signalling: D9 to D11, D17 to D27."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from typing import Any

import metered_realtime as official
import pytest

from edge_node.aio.emitter import Emitter
from edge_node.errors import MeteredPeerOversizedError, ServerRequestError, SignallingConnectError
from edge_node.ports import WireClosed
from edge_node.protocol.codec import encode
from edge_node.protocol.frames import ErrorFrame, GoingAwayFrame, PresenceFrame, PresencePeer, Publish, Welcome
from edge_node.protocol.payloads import IceServerConfig
from edge_node.realtime import wire
from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.credential import MAX_CALLS
from edge_node.realtime.events import Connected, Disconnected, GoingAway, ServerError, TokenProviderError
from edge_node.realtime.options import ReconnectOptions, SignallingClientOptions
from edge_node.realtime.peer import MeteredPeer
from tests.support.fake_server import FakeServer, acknowledge
from tests.support.hub_client import running_hub
from tests.support.peers import Tone
from tests.support.virtual_time import in_virtual_time, now_s
from tests.support.waiting import eventually

STEADY = ReconnectOptions(jitter_ratio=0)
BOTH = pytest.mark.parametrize("cls", [SignallingClient, MeteredPeer])


# D9: the first connection


async def test_d09_a_client_may_start_before_its_server() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    attempts: list[str] = []

    async def connect(address: str) -> Any:
        attempts.append(address)
        return await wire.connect(address)

    url, fast = f"ws://127.0.0.1:{port}", ReconnectOptions(initial_delay=0.05, max_delay=0.1)
    client = SignallingClient(api_key="pk_dev_test", url=url, reconnect=fast, connect_retry=True, connect=connect)
    connecting = asyncio.create_task(client.connect())
    await eventually(lambda: len(attempts) == 3)
    assert client.state == "connecting"
    async with running_hub(port=port):
        await asyncio.wait_for(connecting, 30)
        await client.publish("c", 1)
        await client.close()


@in_virtual_time
async def test_d09_it_tries_for_ever_but_not_against_a_refusal() -> None:
    server, told = FakeServer(), list[TokenProviderError]()
    server.refusal = WireClosed(1006)
    client = server.client(connect_retry=True, reconnect=ReconnectOptions(max_attempts=3, jitter_ratio=0))
    client.on(TokenProviderError, told.append)
    connecting = asyncio.create_task(client.connect())
    await asyncio.sleep(24 * 3600)
    assert not connecting.done() and len(server.attempts) > 2000
    server.refusal = WireClosed(4001, "unknown key")
    with pytest.raises(SignallingConnectError) as caught:
        await connecting
    assert caught.value.close_code == 4001 and told == []
    server.refusal = None
    await client.connect()
    await client.close()


# D10, D11: when to come back


@pytest.mark.parametrize(("draw", "wait_s"), [(0.0, 3.0), (0.5, 3.3), (1.0, 3.6)])
@in_virtual_time
async def test_d10_the_time_a_leaving_server_asks_for_is_waited_and_spread(draw: float, wait_s: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_node.realtime.client.random.random", lambda: draw)
        server = FakeServer()
        client, heard = await server.connected(), list[GoingAway]()
        client.on(GoingAway, heard.append)
        server.wire.hear(GoingAwayFrame(3000))
        lost = now_s()
        await server.restore(client, 1001)
        assert heard == [GoingAway(3000)]
        assert server.attempts[-1] - lost == pytest.approx(wait_s, abs=0.02)
        lost = now_s()
        await server.restore(client, 1001)
        assert server.attempts[-1] - lost < 1.3, "it counts once"
        await client.close()


@in_virtual_time
async def test_d11_a_server_that_greets_and_closes_is_not_stormed() -> None:
    server, told = FakeServer(), list[Disconnected]()
    client = server.client(reconnect=STEADY)
    client.on(Disconnected, told.append)
    client.on(Connected, lambda e: server.wire.hear(WireClosed(1011)))
    await client.connect()
    await eventually(lambda: len(told) == 9, 1000)
    assert server.pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    await client.close()


# D17: size


@in_virtual_time
async def test_d17_the_whole_frame_is_measured_before_it_leaves() -> None:
    server = FakeServer(Welcome("me", None, 1, 1000))
    client = await server.connected()
    room = 1000 - len(encode(Publish("c", "", client._session.new_id())))
    await client.publish("c", "x" * (room - 1))
    assert len(server.wire.texts) == 1 and 990 <= len(server.wire.texts[0]) <= 1000
    for data in ("x" * (room + 1), "ü" * (room // 2 + 1), "x" * 70_000):
        with pytest.raises(MeteredPeerOversizedError) as caught:
            await client.publish("c", data)
        assert caught.value.cap == 1000 < caught.value.size
        with pytest.raises(MeteredPeerOversizedError):
            await client.send("p" * 20, data)
    assert len(server.wire.texts) == 1 and client.state == "connected"
    await client.close()


@in_virtual_time
async def test_d17_a_peer_counts_the_envelope_too() -> None:
    server = FakeServer(Welcome("me", None, 1, 1000))
    peer = MeteredPeer(api_key="pk_x", url="ws://localhost", connect=server.connect)
    await peer.join("room")
    for data in ("x" * 980, "x" * 2000):
        with pytest.raises(MeteredPeerOversizedError):
            await peer.send(data)
        with pytest.raises(MeteredPeerOversizedError):
            await peer.send_to("other", data)
    assert [f["type"] for f in server.wire.sent] == ["subscribe"] and peer.state == "joined"
    await peer.close()


# D18: token providers


class Mint:
    """Providers of every shape."""

    def plain(self) -> str:
        return "token"

    async def coroutine(self) -> str:
        return "token"

    def __call__(self) -> str:
        return "token"


@pytest.mark.parametrize(
    "provider",
    [Mint().plain, Mint().coroutine, Mint(), lambda: "token", lambda: Mint().coroutine()],
    ids=["plain", "coroutine", "object", "lambda", "lambda of a coroutine"],
)
async def test_d18_token_providers_may_be_plain_or_not(provider: Any) -> None:
    server = FakeServer()
    client = await server.connected(token_provider=provider, reconnect=ReconnectOptions(initial_delay=0.01))
    await server.restore(client)
    assert server.urls == ["ws://localhost/v1?token=token"] * 2
    await client.close()


async def test_d18_a_plain_provider_that_hangs_stops_nothing_else() -> None:
    """The connection is told of its deadline, the loop goes on, and what comes too late is thrown away."""
    may_return, calls = threading.Event(), list[str]()

    def hang() -> Any:
        calls.append(threading.current_thread().name)
        may_return.wait(30)
        return Mint().coroutine()  # never awaited by anybody

    server = FakeServer()
    client = server.client(token_provider=hang, token_provider_timeout=0.05)
    for _ in range(MAX_CALLS + 1):
        with pytest.raises(SignallingConnectError, match="token provider failed: TimeoutError"):
            await client.connect()
    await eventually(lambda: len(calls) == MAX_CALLS)
    assert set(calls) == {"token-provider"}, "the loop's own thread is not for it, and more threads would help nobody"
    may_return.set()
    await eventually(lambda: not any(thread.name == "token-provider" for thread in threading.enumerate()))
    await asyncio.sleep(0)
    client = server.client(token_provider=lambda: Mint().plain())
    await client.connect()
    assert server.urls == ["ws://localhost/v1?token=token"]
    await client.close()


# D19: no watchdog


@pytest.mark.parametrize("off", [0, 0.0, None, -1])
@in_virtual_time
async def test_d19_an_inactivity_timeout_of_nothing_is_off(off: Any) -> None:
    server, told = FakeServer(), list[Disconnected]()
    client = await server.connected(inactivity_timeout=off)
    client.on(Disconnected, told.append)
    await asyncio.sleep(24 * 3600)
    assert told == [] and server.wire.sent == [] and client.state == "connected"
    await client.close()


# D20, D21: events


def test_d20_off_takes_a_once_handler_off() -> None:
    emitter, heard = Emitter(), list[GoingAway]()
    emitter.once(GoingAway, heard.append)
    emitter.off(GoingAway, heard.append)
    emitter.emit(GoingAway(1))
    assert heard == [] and emitter.listener_count(GoingAway) == 0


def test_d20_also_during_the_dispatch() -> None:
    emitter, heard = Emitter(), list[GoingAway]()
    emitter.on(GoingAway, lambda e: emitter.off(GoingAway, heard.append))
    emitter.once(GoingAway, heard.append)
    emitter.emit(GoingAway(1))
    assert heard == []


async def test_d21_an_ended_stream_stays_ended() -> None:
    emitter = Emitter()
    stream = emitter.events(GoingAway)
    waiting = [asyncio.create_task(anext(stream)) for _ in range(2)]
    await asyncio.sleep(0)
    emitter.release()
    for task in waiting:
        with pytest.raises(StopAsyncIteration):
            await task
    for _ in range(3):
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(stream), 30)


async def test_d21_the_end_takes_no_place_from_an_event() -> None:
    emitter = Emitter()
    stream = emitter.events(GoingAway, maxsize=2)
    for number in range(2):
        emitter.emit(GoingAway(number))
    stream.close()
    assert [e.retry_after_ms async for e in stream] == [0, 1] and stream.dropped == 0


# D22: subscriptions that were refused


@pytest.mark.parametrize(
    "code", ["channel_not_authorized", "channel_reserved", "invalid_channel", "action_not_permitted"]
)
@in_virtual_time
async def test_d22_a_refused_subscription_is_forgotten(code: str) -> None:
    server, told = FakeServer(), list[ServerError]()
    server.answer = lambda f: ErrorFrame(code, f["requestId"]) if f.get("channel") == "no" else acknowledge(f)
    client = await server.connected()
    client.on(ServerError, told.append)
    await client.subscribe("yes")
    with pytest.raises(ServerRequestError):
        await client.subscribe("no")
    await server.restore(client)
    await asyncio.sleep(10)
    assert [f["channel"] for f in server.wire.asked("subscribe")] == ["yes"]
    server.answer = lambda f: ErrorFrame(code, f["requestId"])  # what was granted is so no more
    await server.restore(client)
    await asyncio.sleep(10)
    assert len(server.wire.asked("subscribe")) == 1 and [e.code for e in told] == [code]
    await server.restore(client)
    await asyncio.sleep(10)
    assert server.wire.asked("subscribe") == []
    await client.close()


# D23, D24: ICE servers

STUN = IceServerConfig("stun:127.0.0.1")
TURN = IceServerConfig("turn:127.0.0.1:9?transport=tcp", "user", "secret")  # refuses at once
WITH_STUN = {"iceServers": [{"urls": "stun:127.0.0.1"}]}


@pytest.mark.parametrize(
    ("options", "metadata", "servers", "relay_only"),
    [
        ({}, None, (), False),
        ({}, WITH_STUN, (STUN,), False),
        ({"ice_servers": []}, WITH_STUN, (), False),
        ({"ice_servers": [TURN], "ice_transport_policy": "relay"}, WITH_STUN, (TURN,), True),
    ],
    ids=["LAN only by default", "the server's", "LAN only by choice", "relay only"],
)
async def test_d23_no_server_is_asked_unbidden(
    options: Any, metadata: Any, servers: Any, relay_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    links: list[PeerLink] = []
    asked: list[Any] = []

    class Watched(PeerLink):
        def __init__(self, ice_servers: Any, only_relay: bool, *rest: Any) -> None:
            super().__init__(ice_servers, only_relay, *rest)
            asked.append((tuple(ice_servers), only_relay))
            links.append(self)

    monkeypatch.setattr("edge_node.realtime.connection.PeerLink", Watched)
    server = FakeServer(Welcome("me", None, 1, 65536, metadata))
    peer = MeteredPeer(api_key="pk_x", url="ws://localhost", connect=server.connect, **options)
    peer.add_track(Tone())
    await peer.join("room")
    server.wire.hear(PresenceFrame("room", (PresencePeer("other"),)))
    # the offer: what there was to ask has been asked
    await eventually(lambda: any("description" in frame["data"] for frame in server.wire.asked("send")))
    assert asked[0] == (servers, relay_only)
    ours: Any = links[0].pc.getTransceivers()[0].receiver.transport.transport.iceGatherer._connection
    assert ours.stun_server == (("127.0.0.1", 3478) if STUN in servers else None)
    assert ours.turn_server == (("127.0.0.1", 9) if TURN in servers else None)
    assert ours._transport_policy.name == ("RELAY" if relay_only else "ALL")
    await peer.close()


@in_virtual_time
async def test_d24_a_bad_ice_server_takes_only_itself_away() -> None:
    class Diary:
        def __init__(self) -> None:
            self.warnings: list[str] = []

        def warning(self, msg: str, ctx: dict[str, Any] | None = None) -> None:
            self.warnings.append(msg)

        def debug(self, msg: str, ctx: dict[str, Any] | None = None) -> None: ...

        info = error = debug

    rows: list[Any] = [
        {"urls": "http://127.0.0.1"},
        {"urls": ["turn:127.0.0.1"], "username": "user", "credential": "secret"},
        "text",
        {"urls": "turn:" + "x" * 600},
        {"urls": "stun:127.0.0.1"},
    ]
    server, diary, seen = FakeServer(Welcome("me", None, 1, 65536, {"iceServers": rows})), Diary(), list[Connected]()
    client = server.client(logger=diary)
    client.on(Connected, seen.append)
    await client.connect()
    assert seen[0].ice_servers == (IceServerConfig(["turn:127.0.0.1"], "user", "secret"), STUN)
    assert diary.warnings == [f"ICE server {number} is malformed" for number in (0, 2, 3)]
    await client.close()


# D25: what ends a connection is a policy


@in_virtual_time
async def test_d25_an_expired_key_is_final_and_an_expired_token_is_not() -> None:
    server, told = FakeServer(), list[Disconnected]()
    tokens = iter("abc")

    async def provide() -> str:
        return next(tokens)

    client = await server.connected(token_provider=provide)
    await server.restore(client, 4002)
    assert [url[-7:] for url in server.urls] == ["token=a", "token=b"]
    await client.close()
    client = await server.connected()
    client.on(Disconnected, told.append)
    await server.lose(client, 4002)
    assert client.state == "closed" and told == [Disconnected(4002, "", False)]
    await client.close()


@in_virtual_time
async def test_d25_a_program_may_take_a_normal_close_for_the_end() -> None:
    server = FakeServer()
    client = await server.connected(reconnect=ReconnectOptions(final_codes={1000}))
    await server.restore(client, 1001)
    await server.lose(client, 1000)
    assert client.state == "closed"
    await client.close()


# D26: UTF-8


@in_virtual_time
async def test_d26_text_travels_as_utf_8() -> None:
    server = FakeServer()
    client = await server.connected()
    data = {"text": "Grüße, 世界 😀", "lone": "\ud800"}
    await client.publish("zürich", data["text"])
    assert "Grüße, 世界 😀" in server.wire.texts[0] and '"zürich"' in server.wire.texts[0]
    assert len(server.wire.texts[0].encode()) < len(json.dumps(server.wire.sent[0]))
    await client.publish("c", data)
    assert json.loads(server.wire.texts[1].encode())["data"] == data, "what UTF-8 cannot carry is escaped"
    await client.close()


# D27: a peer has to find its channel again


def test_d27_a_peer_does_not_take_auto_resubscribe_false() -> None:
    with pytest.raises(ValueError, match="auto_resubscribe"):
        MeteredPeer(api_key="pk_x", auto_resubscribe=False)
    with pytest.raises(ValueError, match="auto_resubscribe"):
        MeteredPeer(SignallingClientOptions(api_key="pk_x", auto_resubscribe=False))
    official.MeteredPeer(api_key="pk_x", auto_resubscribe=False)  # the defect
