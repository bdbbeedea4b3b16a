from __future__ import annotations

import asyncio
import logging
import pickle
from typing import Any

import pytest

from edge_node.errors import (
    DisconnectedError,
    MeteredPeerOversizedError,
    NotConnectedError,
    ServerRequestError,
    SignallingConnectError,
    SignallingError,
)
from edge_node.ports import WireClosed
from edge_node.protocol.codec import encode
from edge_node.protocol.frames import Ack, ErrorFrame, GoingAwayFrame, PresenceFrame, Publish, Welcome
from edge_node.realtime import wire
from edge_node.realtime.client import OUTBOX_FRAMES, SignallingClient
from edge_node.realtime.events import (
    Connected,
    Direct,
    Disconnected,
    GoingAway,
    Message,
    Presence,
    ServerError,
    StateChange,
    TokenProviderError,
)
from edge_node.realtime.options import ReconnectOptions, SignallingClientOptions, SubscribeOptions
from tests.support.hub_client import running_hub
from tests.support.peers import token
from tests.support.waiting import eventually
from tests.support.wires import Network

FAST = ReconnectOptions(initial_delay=0.01, max_delay=0.05)


class FakeWire:
    """A server's end that does what the test says."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.inbox: asyncio.Queue[str | bytes | WireClosed] = asyncio.Queue()
        self.closed_with: tuple[int, str] | None = None
        self.url = ""
        self.may_send = asyncio.Event()
        self.may_send.set()

    async def connect(self, url: str) -> FakeWire:
        self.url = url
        return self

    def hear(self, frame: Any) -> None:
        self.inbox.put_nowait(frame if isinstance(frame, str | bytes | WireClosed) else encode(frame))

    async def send(self, text: str) -> None:
        await self.may_send.wait()
        self.sent.append(text)

    async def recv(self) -> str | bytes:
        item = await self.inbox.get()
        if isinstance(item, WireClosed):
            raise item
        return item

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed_with = (code, reason)


WELCOME = Welcome("me", None, 1, 65536, {"iceServers": [{"urls": "stun:a"}, {"urls": "bad"}]})


async def connected(fake: FakeWire, **options: Any) -> SignallingClient:
    fake.hear(WELCOME)
    client = SignallingClient(api_key="pk_secret", url="ws://localhost", connect=fake.connect, **options)
    await client.connect()
    return client


async def test_publish_subscribe_and_direct() -> None:
    async with running_hub() as hub:
        one = SignallingClient(token_provider=lambda: token("one"), url=hub.url)
        two = SignallingClient(SignallingClientOptions(token_provider=lambda: token("two"), url=hub.url))
        heard: list[Any] = []
        for kind in (Message, Direct, Presence):
            two.on(kind, heard.append)
        async with one, two:
            await two.subscribe("c", SubscribeOptions(include_sender_metadata=True))
            await one.subscribe("c")
            await one.publish("c", {"text": "ü"})
            await one.send("two", [1, None])
            await eventually(lambda: len(heard) == 4)
            with pytest.raises(ServerRequestError) as caught:
                await one.send("nobody", 1)
            assert caught.value.code == "peer_not_found"
            await one.unsubscribe("c")
            await eventually(lambda: len(heard) == 5)
        presence, joined, message, direct, left = heard
        assert presence.joined == () and [p.peer_id for p in joined.joined] == ["one"]
        assert (message.channel, message.sender_peer_id, message.data) == ("c", "one", {"text": "ü"})
        assert (direct.sender_peer_id, direct.data) == ("one", [1, None])
        assert [p.peer_id for p in left.left] == ["one"]
        assert one.state == two.state == "closed"


async def test_events_of_a_connection() -> None:
    fake, seen = FakeWire(), list[Any]()
    client = SignallingClient(api_key="pk_x", url="ws://localhost", connect=fake.connect)
    for kind in (StateChange, Connected, Disconnected, GoingAway, ServerError):
        client.on(kind, seen.append)
    fake.hear(WELCOME)
    await client.connect()
    assert client.max_message_size == 65536 and "pk_x" in fake.url and "pk_x" not in repr(client)
    fake.hear(GoingAwayFrame(7))
    fake.hear(ErrorFrame("over_message_quota", None, "much"))
    fake.hear(b"binary")
    fake.hear("{")
    fake.hear(PresenceFrame("c"))
    await eventually(lambda: len(seen) == 5)
    assert client.frames_skipped == 1
    await client.close(1000, "bye")
    assert fake.closed_with == (1000, "bye")
    connected_event = seen[2]
    assert connected_event.ice_servers[0].urls == "stun:a" and len(connected_event.ice_servers) == 1
    assert seen[3:5] == [GoingAway(7), ServerError("over_message_quota", "much")]
    assert seen[5:] == [StateChange("connected", "closed"), Disconnected(1000, "bye", False)]
    await client.close()


async def test_connecting_twice_and_again_after_a_failure() -> None:
    fake = FakeWire()
    fake.hear(WireClosed(4001, "bad key"))
    client = SignallingClient(api_key="pk_x", url="ws://localhost", connect=fake.connect)
    seen: list[Any] = []
    client.on(Connected, seen.append)
    with pytest.raises(SignallingConnectError) as caught:
        await client.connect()
    assert (caught.value.close_code, caught.value.close_reason) == (4001, "bad key")
    fake.hear(WELCOME)
    await client.connect()
    assert len(seen) == 1  # handlers live on
    with pytest.raises(SignallingError, match="idle client"):
        await client.connect()
    await client.close()


async def test_a_cancelled_connect_leaves_nothing() -> None:
    fake = FakeWire()
    client = SignallingClient(api_key="pk_x", url="ws://localhost", connect=fake.connect)
    task = asyncio.get_running_loop().create_task(client.connect())
    await eventually(lambda: fake.url)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert client.state == "closed"
    await eventually(lambda: fake.closed_with)
    await client.close()


async def test_requests_need_a_connection_and_good_arguments() -> None:
    fake = FakeWire()
    client = await connected(fake)
    for call in (client.subscribe, client.unsubscribe):
        with pytest.raises(TypeError):
            await call(5)  # type: ignore[arg-type]
        with pytest.raises(ValueError):
            await call("")
    with pytest.raises(ValueError):
        await client.send("a\x00", 1)
    with pytest.raises(ValueError):
        await client.publish("c", float("nan"))
    with pytest.raises(MeteredPeerOversizedError):
        await client.publish("c", "x" * 70_000)
    assert fake.sent == []
    pending = asyncio.get_running_loop().create_task(client.publish("c", 1))
    await eventually(lambda: fake.sent)
    fake.hear(WireClosed(4020, "kicked"))
    with pytest.raises(DisconnectedError):
        await pending
    with pytest.raises(NotConnectedError):
        await client.publish("c", 1)
    assert client.state == "closed"
    await client.close()


async def test_token_providers_of_both_kinds_and_their_failures() -> None:
    async def slow() -> str:
        await asyncio.Event().wait()
        return "never"

    async def fine() -> str:
        return "tok/en"

    fake = FakeWire()
    fake.hear(WELCOME)
    client = SignallingClient(token_provider=fine, url="ws://localhost", connect=fake.connect)
    await client.connect()
    assert fake.url == "ws://localhost/v1?token=tok%2Fen"
    await client.close()
    for provider, limit in ((slow, 0.01), (lambda: "", 5.0), (lambda: 5, 5.0)):
        bad = SignallingClient(
            token_provider=provider,  # type: ignore[arg-type]
            token_provider_timeout=limit,
            url="ws://localhost",
            connect=fake.connect,
        )
        with pytest.raises(SignallingConnectError, match="token provider"):
            await bad.connect()
        await bad.close()


async def test_token_failures_are_told_from_the_third_on() -> None:
    fake, told = FakeWire(), list[Any]()
    works = True

    def provide() -> str:
        if not works:
            raise RuntimeError("no token")
        return "token"

    fake.hear(WELCOME)
    options = ReconnectOptions(initial_delay=0.01, max_delay=0.01, max_attempts=4)
    client = SignallingClient(token_provider=provide, url="ws://localhost", connect=fake.connect, reconnect=options)
    client.on(TokenProviderError, told.append)
    dropped = client.events(Disconnected)
    await client.connect()
    works = False
    fake.hear(WireClosed(1006))
    assert (await anext(dropped)).will_reconnect
    assert not (await anext(dropped)).will_reconnect
    assert [t.consecutive_failures for t in told] == [3, 4]
    await client.close()


async def test_a_server_that_takes_nothing_is_left() -> None:
    fake = FakeWire()
    client = await connected(fake, reconnect=FAST)
    fake.may_send.clear()
    dropped = client.events(Disconnected)
    fake.hear(WELCOME)  # for the second connection
    futures = [client.request(Publish("c", n)) for n in range(OUTBOX_FRAMES + 10)]
    assert (await asyncio.wait_for(anext(dropped), 10)).will_reconnect
    with pytest.raises((DisconnectedError, NotConnectedError)):
        await futures[0]
    fake.may_send.set()
    await client.close()


async def test_channels_come_back_after_a_cut() -> None:
    network = Network()
    async with running_hub() as hub:
        client = SignallingClient(
            token_provider=lambda: token("one"), url=hub.url, connect=network.connect, reconnect=FAST
        )
        heard: list[Any] = []
        client.on(Presence, heard.append)
        states: list[str] = []
        client.on(StateChange, lambda e: states.append(e.to))
        await client.connect()
        await client.subscribe("c")
        await eventually(lambda: len(heard) == 1)
        network.cut()
        await eventually(lambda: len(heard) == 2)
        assert states == ["connecting", "connected", "reconnecting", "connected"] and client.reconnects == 1
        await client.close()


async def test_a_handler_may_call_the_client() -> None:
    fake = FakeWire()
    client = SignallingClient(api_key="pk_x", url="ws://localhost", connect=fake.connect)
    seen: list[str] = []

    def on_connected(event: Connected) -> None:
        client.request(Publish("c", 1))
        seen.append("handler")

    client.on(Connected, on_connected)
    fake.hear(WELCOME)
    await client.connect()
    await eventually(lambda: fake.sent)
    assert seen == ["handler"]
    await client.close()


async def test_errors_of_the_socket_library() -> None:
    with pytest.raises(WireClosed) as caught:
        await wire.connect("ws://127.0.0.1:9/v1?key=pk_secret")
    assert caught.value.code == 1006 and "pk_secret" not in str(caught.value)
    async with running_hub() as hub:
        with pytest.raises(WireClosed) as refused:
            await wire.connect(f"{hub.url}/nowhere?key=pk_secret")
        assert refused.value.code == 404
        socket = await wire.connect(f"{hub.url}/v1?key=pk_wrong")
        with pytest.raises(WireClosed) as closed:
            while True:
                await socket.recv()
        assert closed.value.code == 4001
        with pytest.raises(WireClosed):
            await socket.send("x")
        await socket.close()


async def test_secrets_stay_secret(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client = SignallingClient(api_key="pk_very_secret", url="ws://localhost:9")
        with pytest.raises(SignallingConnectError) as caught:
            await client.connect()
        await client.close()
    texts = [r.getMessage() for r in caplog.records if r.name.startswith("edge_node")]
    assert not [t for t in [*texts, str(caught.value), repr(client), repr(vars(client))] if "pk_very_secret" in t]
    with pytest.raises(TypeError):
        pickle.dumps(client._credential)


async def test_a_socket_that_fails_in_a_strange_way_is_a_lost_one() -> None:
    class Strange(FakeWire):
        async def recv(self) -> str | bytes:
            raise RuntimeError("strange")

    client = SignallingClient(api_key="pk_x", url="ws://localhost", connect=Strange().connect)
    with pytest.raises(SignallingConnectError, match="RuntimeError"):
        await client.connect()
    await client.close()


async def test_answers_nobody_waits_for_are_no_trouble() -> None:
    fake = FakeWire()
    client = await connected(fake)
    future = client.request(Publish("c", 1))
    future.cancel()
    fake.hear(Ack("unknown"))
    fake.hear(ErrorFrame("x", "unknown"))
    await client.close()
