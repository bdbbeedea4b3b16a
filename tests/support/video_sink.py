"""A video sink that keeps what it gets, with readers of views."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from aiortc.mediastreams import MediaStreamError

from edge_node.ports import AccessUnit, VideoSink

if TYPE_CHECKING:
    import av

    from edge_node.media.view import View


class CollectingSink:
    """ports.VideoSink: keeps at most `keep` pictures, counts all."""

    def __init__(self, keep: int = 600) -> None:
        self._keep = keep
        self.pictures: list[tuple[av.VideoFrame, float]] = []
        self.units: list[AccessUnit] = []
        self.count = 0

    def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
        self.count += 1
        if len(self.pictures) < self._keep:
            self.pictures.append((frame, captured_at))

    def unit(self, unit: AccessUnit) -> None:
        self.count += 1
        if len(self.units) < self._keep:
            self.units.append(unit)


class CountingDemand:
    """ports.Demand that counts what is asked."""

    def __init__(self) -> None:
        self.keyframes = 0
        self.rates: list[int] = []

    def request_keyframe(self) -> None:
        self.keyframes += 1

    def set_bitrate(self, kbps: int) -> None:
        self.rates.append(kbps)


class StubSource:
    """ports.VideoSource that somebody else plays: only its label and its demand count."""

    def __init__(self, label: str = "test", demand: CountingDemand | None = None) -> None:
        self.label = label
        self.demand = demand

    async def run(self, sink: VideoSink) -> None:
        await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Runs a part while the block lasts, then cancels it; raises what it raised."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        try:
            async with asyncio.timeout(30):
                await task
        except asyncio.CancelledError:
            pass


async def take(view: View, count: int, timeout_s: float = 30.0) -> list[av.Packet[Any]]:
    """The next packets of a view."""
    async with asyncio.timeout(timeout_s):
        return [await view.recv() for _ in range(count)]


async def take_until(
    view: View, done: Callable[[list[av.Packet[Any]]], bool], timeout_s: float = 30.0
) -> list[av.Packet[Any]]:
    """Packets of a view until `done(packets)`."""
    packets: list[av.Packet[Any]] = []
    async with asyncio.timeout(timeout_s):
        while not done(packets):
            packets.append(await view.recv())
    return packets


class Watching:
    """Somebody who reads a view as packets come, until the view ends."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.packets: list[av.Packet[Any]] = []
        self._task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with suppress(MediaStreamError):
            while True:
                self.packets.append(await self.view.recv())

    async def end(self) -> list[av.Packet[Any]]:
        """Stops the view; everything that came."""
        self.view.stop()
        await self._task
        return self.packets
