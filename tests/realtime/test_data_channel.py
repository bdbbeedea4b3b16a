from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pyee.base import EventEmitter

from edge_node.errors import DataChannelOverflowError, MeteredRealtimeError
from edge_node.realtime.data_channel import DataChannel
from edge_node.realtime.events import DataChannelOpened, DCClose, DCError, DCMessage, DCOpen
from tests.support.hub_client import running_hub
from tests.support.peers import Watcher, peer_of
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


async def test_sending_waits_for_room_in_order() -> None:
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


async def test_the_poll_finds_room_without_an_event() -> None:
    raw = Raw()
    channel = DataChannel(raw, max_buffered_amount=10, buffer_poll_interval=0.01, buffered_amount_low_threshold=3)
    assert raw.bufferedAmountLowThreshold == 3
    await channel.send(b"x" * 10)
    task = asyncio.get_running_loop().create_task(channel.send(b"y"))
    await asyncio.sleep(0)
    raw.bufferedAmount = 0
    await asyncio.wait_for(task, 5)
    channel.close()


async def test_sends_that_cannot_be() -> None:
    raw = Raw()
    channel = DataChannel(raw, max_buffered_amount=10, max_queued_sends=1)
    with pytest.raises(MeteredRealtimeError):
        await channel.send("x" * 11)
    await channel.send("x" * 10)
    waiting = asyncio.get_running_loop().create_task(channel.send("y"))
    await asyncio.sleep(0)
    with pytest.raises(DataChannelOverflowError) as full:
        await channel.send("z")
    assert (full.value.queued, full.value.cap) == (1, 1)
    channel.close()
    channel.close()
    with pytest.raises(MeteredRealtimeError):
        await waiting
    with pytest.raises(MeteredRealtimeError):
        await channel.send("late")
    assert channel.ready_state == "closed"
    with pytest.raises(MeteredRealtimeError):
        await DataChannel(Raw("connecting")).send("early")


async def test_one_failed_send_is_one() -> None:
    raw = Raw()
    channel = DataChannel(raw)
    raw.fails = True
    with pytest.raises(MeteredRealtimeError):
        await channel.send("a")
    await channel.send("b")
    assert raw.sent == ["b"]
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


async def test_over_a_real_connection() -> None:
    async with running_hub() as hub:
        a, b = peer_of(hub, "a"), peer_of(hub, "b")
        watcher = Watcher(b)
        opened: list[Any] = []
        await a.join("room")
        await b.join("room")
        await eventually(lambda: watcher.remotes and a.remote_peers)
        watcher.remotes["a"].on(DataChannelOpened, lambda e: opened.append(DataChannel(e.channel)))
        channel = DataChannel(a.remote_peers[0].create_data_channel("chat"), wait_open=True)
        await asyncio.wait_for(channel.send("hello"), 10)
        await eventually(lambda: opened)
        heard = opened[0].events(DCMessage)
        for number in range(300):
            await channel.send(bytes(10_000) + str(number).encode())
        got = [await asyncio.wait_for(anext(heard), 10) for _ in range(300)]
        texts = [m.data for m in got if isinstance(m.data, bytes)]
        assert [int(t[10_000:]) for t in texts] == list(range(len(texts))) and len(texts) >= 299
        channel.close()
        await eventually(lambda: opened[0].ready_state == "closed")
        await a.close()
        await b.close()
