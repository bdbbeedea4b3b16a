"""Switches in front of real devices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge_node.errors import SourceLost
from edge_node.ports import VideoSink, WireClosed
from edge_node.simulator.devices import (
    HeatedProbe,
    Switch,
    SwitchedCamera,
    SwitchedMicrophone,
    SwitchedNetwork,
)
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from edge_node.ports import Pcm


class Camera:
    label = "test"
    demand = None
    running = False

    async def run(self, sink: VideoSink) -> None:
        self.running = True
        try:
            await asyncio.Event().wait()
        finally:
            self.running = False


class Sink:
    def picture(self, frame: Any, captured_at: float) -> None: ...

    def unit(self, unit: Any) -> None: ...


async def test_an_unplugged_camera_is_lost_and_released_and_comes_back() -> None:
    switch, camera = Switch(), Camera()
    switched = SwitchedCamera(camera, switch)
    assert (switched.label, switched.demand) == ("test", None)
    work = asyncio.ensure_future(switched.run(Sink()))
    await eventually(lambda: camera.running)
    switch.set(False)
    with pytest.raises(SourceLost, match="unplugged"):
        await work
    assert not camera.running
    with pytest.raises(SourceLost):
        await switched.run(Sink())
    switch.set(True)
    work = asyncio.ensure_future(switched.run(Sink()))
    await eventually(lambda: camera.running)
    work.cancel()
    await asyncio.wait([work])
    assert not camera.running


async def test_a_microphone_that_is_off_gives_silence() -> None:
    class Mic:
        label = "test"

        async def run(self, sink: Callable[[Pcm], None]) -> None:
            sink(np.full(480, 7, np.int16))

    switch = Switch()
    blocks: list[Pcm] = []
    mic = SwitchedMicrophone(Mic(), switch)
    assert mic.label == "test"
    await mic.run(blocks.append)
    switch.set(False)
    await mic.run(blocks.append)
    assert [int(np.max(b)) for b in blocks] == [7, 0]


class LoopWire:
    def __init__(self) -> None:
        self.sent: list[str] = []
        self.closed = False
        self.inbox: asyncio.Queue[str] = asyncio.Queue()

    async def send(self, text: str) -> None:
        self.sent.append(text)

    async def recv(self) -> str | bytes:
        return await self.inbox.get()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed = True


async def test_wifi_that_drops_cuts_open_sockets_and_refuses_new_ones() -> None:
    switch, wire = Switch(), LoopWire()

    async def connect(url: str) -> LoopWire:
        return wire

    network = SwitchedNetwork(connect, switch)
    opened = await network("ws://127.0.0.1")
    await opened.send("hello")
    wire.inbox.put_nowait("answer")
    assert await opened.recv() == "answer"
    reading = asyncio.ensure_future(opened.recv())
    await asyncio.sleep(0)
    switch.set(False)
    with pytest.raises(WireClosed):
        await reading
    assert wire.closed
    with pytest.raises(WireClosed):
        await opened.send("more")
    with pytest.raises(WireClosed):
        await network("ws://127.0.0.1")
    switch.set(True)
    again = await network("ws://127.0.0.1")
    await again.close()
    assert wire.sent == ["hello"]


def test_heat_shows_in_the_readings() -> None:
    class Cool:
        def read(self) -> Mapping[str, Any]:
            return {"soc_temp_c": 40.0, "load_1m": 0.5}

        def rss_mb(self) -> float | None:
            return 80.0

    async def read() -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        hot = Switch(False)
        probe = HeatedProbe(Cool(), hot)
        cool = probe.read()
        hot.set(True)
        assert probe.rss_mb() == 80.0
        return cool, probe.read()

    cool, hot = asyncio.run(read())
    assert cool == {"soc_temp_c": 40.0, "load_1m": 0.5}
    assert hot == {"soc_temp_c": 84.0, "throttled": ["soft_temp_limit"], "load_1m": 0.5}
