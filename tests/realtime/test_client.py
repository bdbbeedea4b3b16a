from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edge_node.errors import (
    DisconnectedError,
    NotConnectedError,
    SignallingConnectError,
)
from edge_node.ports import WireClosed
from edge_node.protocol.codec import encode
from edge_node.protocol.frames import Ack, ErrorFrame, GoingAwayFrame, PresenceFrame, Publish, Welcome
from edge_node.realtime.attempt import OUTBOX_FRAMES
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.events import (
    Connected,
    Disconnected,
    GoingAway,
    ServerError,
    StateChange,
)
from edge_node.realtime.options import ReconnectOptions
from tests.support.waiting import eventually

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


async def test_a_server_that_takes_nothing_is_left() -> None:
    fake = FakeWire()
    client = await connected(fake, reconnect=FAST)
    fake.may_send.clear()
    dropped = client.events(Disconnected)
    fake.hear(WELCOME)  # for the second connection
    futures = [client.request(Publish("c", n)) for n in range(OUTBOX_FRAMES + 10)]
    assert (await asyncio.wait_for(anext(dropped), 30)).will_reconnect
    with pytest.raises((DisconnectedError, NotConnectedError)):
        await futures[0]
    fake.may_send.set()
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
