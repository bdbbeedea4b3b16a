"""Rows 89 to 96: data channels."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pyee.base import EventEmitter

from edge_node.errors import DataChannelOverflowError, MeteredRealtimeError
from edge_node.hub.server import Hub
from edge_node.protocol import negotiation
from edge_node.realtime.data_channel import DataChannel
from edge_node.realtime.events import ConnectionReset, DataChannelOpened, DCClose, DCError, DCMessage, DCOpen
from edge_node.realtime.remote import RemotePeer
from tests.support.hub_client import running_hub
from tests.support.peers import ORDERS, Watcher, peer_of
from tests.support.waiting import eventually


class Raw(EventEmitter):
    """A channel whose buffer the test drains."""

    def __init__(self, state: str = "open") -> None:
        super().__init__()
        self.label, self.readyState = "raw", state
        self.bufferedAmount = self.bufferedAmountLowThreshold = 0
        self.sent: list[Any] = []
        self.fails = False

    def send(self, data: Any) -> None:
        if self.fails:
            self.fails = False
            raise RuntimeError("no")
        self.sent.append(data)
        self.bufferedAmount += len(data)

    def drain(self) -> None:
        self.bufferedAmount = 0
        self.emit("bufferedamountlow")

    def close(self) -> None:
        self.readyState = "closed"


async def test_row_089_090_sending_waits_for_room_in_order() -> None:
    raw = Raw()
    channel = DataChannel(raw, max_buffered_amount=10, buffer_poll_interval=60)
    assert (raw.bufferedAmountLowThreshold, channel.label, channel.ready_state) == (5, "raw", "open")
    await channel.send("12345678")
    tasks = [asyncio.get_running_loop().create_task(channel.send(str(n) * 8)) for n in range(3)]
    await asyncio.sleep(0)
    assert len(raw.sent) == 1 and channel.buffered_amount == 8
    for number in range(3):
        await eventually(lambda: raw.listeners("bufferedamountlow"))
        raw.drain()
        await tasks[number]
    assert raw.sent[1:] == ["00000000", "11111111", "22222222"]
    channel.close()


async def test_row_089_the_poll_finds_room_without_an_event() -> None:
    raw = Raw()
    channel = DataChannel(raw, max_buffered_amount=10, buffer_poll_interval=0.01, buffered_amount_low_threshold=3)
    assert raw.bufferedAmountLowThreshold == 3
    await channel.send(b"x" * 10)
    task = asyncio.get_running_loop().create_task(channel.send(b"y"))
    await asyncio.sleep(0)
    raw.bufferedAmount = 0
    await asyncio.wait_for(task, 30)
    channel.close()


async def test_row_089_the_limits_are_those_of_the_reference() -> None:
    raw = Raw()
    channel = DataChannel(raw)
    assert (channel._cap, raw.bufferedAmountLowThreshold) == (1 << 20, 1 << 19)
    assert (channel._max_waiting, channel._poll_s) == (256, 0.1)
    channel.close()


async def test_row_091_too_many_that_wait_are_an_overflow() -> None:
    channel = DataChannel(Raw(), max_buffered_amount=10)
    await channel.send("x" * 10)
    waiting = [asyncio.get_running_loop().create_task(channel.send("y")) for _ in range(256)]
    await asyncio.sleep(0)
    with pytest.raises(DataChannelOverflowError) as full:
        await channel.send("z")
    assert (full.value.queued, full.value.cap) == (256, 256)
    channel.close()
    assert {type(e) for e in await asyncio.gather(*waiting, return_exceptions=True)} == {MeteredRealtimeError}


async def test_row_092_what_never_fits_and_what_is_not_open() -> None:
    channel = DataChannel(Raw(), max_buffered_amount=10)
    for data in ("x" * 11, b"x" * 11, "ü" * 6):
        with pytest.raises(MeteredRealtimeError):
            await channel.send(data)
    channel.close()
    for state in ("connecting", "closing", "closed"):
        with pytest.raises(MeteredRealtimeError, match=state):
            await DataChannel(Raw(state)).send("x")
    with pytest.raises(MeteredRealtimeError):
        await channel.send("late")


async def test_row_093_094_closing_frees_who_waits_and_is_said_once() -> None:
    for closing in ("here", "there"):
        raw, seen = Raw(), list[Any]()
        channel = DataChannel(raw, max_buffered_amount=10, buffer_poll_interval=60)
        channel.on(DCClose, seen.append)
        await channel.send("x" * 10)
        waiting = [asyncio.get_running_loop().create_task(channel.send("y")) for _ in range(3)]
        await asyncio.sleep(0)
        if closing == "here":
            channel.close()
            channel.close()
            assert raw.readyState == "closed"
        else:
            raw.readyState = "closed"
            raw.emit("close")
            raw.emit("close")
            channel.close()
        for task in waiting:
            with pytest.raises(MeteredRealtimeError):
                await asyncio.wait_for(task, 30)
        assert len(seen) == 1 and channel.ready_state == "closed" and channel.listener_count(DCClose) == 0


async def test_row_095_one_failed_send_is_one() -> None:
    raw = Raw()
    channel = DataChannel(raw, max_buffered_amount=10, buffer_poll_interval=60)
    await channel.send("x" * 10)
    waiting = [asyncio.get_running_loop().create_task(channel.send(text)) for text in "abc"]
    await asyncio.sleep(0)
    raw.fails = True
    raw.drain()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], MeteredRealtimeError) and results[1:] == [None, None]
    assert raw.sent == ["x" * 10, "b", "c"]
    channel.close()


async def test_d33_waiting_for_a_channel_to_open_and_its_events() -> None:
    raw, seen = Raw("connecting"), list[Any]()
    channel = DataChannel(raw, wait_open=True)
    for kind in (DCOpen, DCClose, DCError, DCMessage):
        channel.on(kind, seen.append)
    task = asyncio.get_running_loop().create_task(channel.send("x"))
    await asyncio.sleep(0)
    assert raw.sent == []
    raw.readyState = "open"
    raw.emit("open")
    await task
    raw.emit("message", b"data")
    raw.emit("error", ValueError("bad"))
    raw.emit("error", "odd")
    raw.emit("close")
    raw.emit("close")
    assert [type(e) for e in seen] == [DCOpen, DCMessage, DCError, DCError, DCClose] and raw.sent == ["x"]


async def test_row_090_over_a_real_connection() -> None:
    async with running_hub() as hub:
        a, b = peer_of(hub, "a"), peer_of(hub, "b")
        watcher = Watcher(b)
        opened: list[Any] = []
        await a.join("room")
        await b.join("room")
        await eventually(lambda: watcher.remotes and a.remote_peers)
        watcher.remotes["a"].on(DataChannelOpened, lambda e: opened.append(DataChannel(e.channel)))
        channel = DataChannel(a.remote_peers[0].create_data_channel("chat"), wait_open=True)
        await asyncio.wait_for(channel.send("hello"), 30)
        await eventually(lambda: opened)
        heard = opened[0].events(DCMessage)
        for number in range(300):
            await channel.send(bytes(10_000) + str(number).encode())
        got = [await asyncio.wait_for(anext(heard), 30) for _ in range(300)]
        texts = [m.data for m in got if isinstance(m.data, bytes)]
        assert [int(t[10_000:]) for t in texts] == list(range(len(texts))) and len(texts) >= 299
        channel.close()
        await eventually(lambda: opened[0].ready_state == "closed")
        await a.close()
        await b.close()


class Echo:
    """Keeps the channels the other side opens and what comes over them."""

    def __init__(self, remote: Any) -> None:
        self.channels: list[DataChannel] = []
        self.heard: list[Any] = []
        self.ended: list[Any] = []
        remote.on(DataChannelOpened, self._opened)

    def _opened(self, event: DataChannelOpened) -> None:
        channel = DataChannel(event.channel)
        self.channels.append(channel)
        channel.on(DCMessage, lambda e: self.heard.append(e.data))
        channel.on(DCClose, self.ended.append)


async def said(channel: DataChannel, text: str, echo: Echo) -> None:
    await asyncio.wait_for(channel.send(text), 30)
    await eventually(lambda: text in echo.heard)


@pytest.mark.parametrize(("opener_id", "other_id"), ORDERS)
async def test_row_096_d28_a_channel_dies_with_its_connection_and_is_opened_again(
    opener_id: str, other_id: str
) -> None:
    async with running_hub() as hub, two(hub, opener_id, other_id) as (remote, other):
        echo, resets, ended = Echo(other), list[Any](), list[Any]()
        channel = DataChannel(remote.create_data_channel("chat"), wait_open=True)
        channel.on(DCClose, ended.append)
        remote.on(ConnectionReset, resets.append)
        await said(channel, "one", echo)
        assert resets == []
        remote.connection.renew()
        await eventually(lambda: resets and ended and echo.ended, 30)
        with pytest.raises(MeteredRealtimeError):
            await channel.send("lost")
        again = DataChannel(remote.create_data_channel("chat"), wait_open=True)
        await said(again, "two", echo)
        assert len(resets) == len(ended) == 1 and len(echo.channels) == 2


@pytest.mark.parametrize(("opener_id", "other_id"), ORDERS)
async def test_row_096_both_sides_open_one_at_the_same_time(
    opener_id: str, other_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The polite side has to give its first connection up: what was opened on it opens on the other's."""
    for name in ("POLITE_WAIT_S", "IMPOLITE_WAIT_S"):
        monkeypatch.setattr(negotiation, name, 0.0)
    async with running_hub() as hub, two(hub, opener_id, other_id) as (remote, other):
        echoes, resets = (Echo(remote), Echo(other)), list[Any]()
        for side in (remote, other):
            side.on(ConnectionReset, resets.append)
        channels = [
            DataChannel(side.create_data_channel("chat", **options), wait_open=True)
            for side, options in ((remote, {}), (other, {}), (remote, {"negotiated": True, "id": 77}))
        ]
        await said(channels[0], "from one", echoes[1])
        await said(channels[1], "from the other", echoes[0])
        await eventually(lambda: channels[2].ready_state == "open")
        assert resets == [], "there is nothing to be opened again"


async def test_row_096_a_channel_that_never_opened_closes_with_its_peer() -> None:
    async with running_hub() as hub, two(hub, "a", "b") as (remote, _):
        remote.connection._negotiation._offered = True  # as if an offer was under way
        channel = DataChannel(remote.create_data_channel("chat"), wait_open=True)
        waiting = asyncio.get_running_loop().create_task(channel.send("x"))
        await asyncio.sleep(0)
        await remote.connection.close()
        with pytest.raises(MeteredRealtimeError):
            await asyncio.wait_for(waiting, 30)


@asynccontextmanager
async def two(hub: Hub, one_id: str, other_id: str) -> AsyncIterator[tuple[RemotePeer, RemotePeer]]:
    """Two peers, as each sees the other."""
    one, other = peer_of(hub, one_id), peer_of(hub, other_id)
    await one.join("room")
    await other.join("room")
    await eventually(lambda: one.remote_peers and other.remote_peers)
    yield one.remote_peers[0], other.remote_peers[0]
    await one.close()
    await other.close()
