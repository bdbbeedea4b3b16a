"""Pictures and sound over a bad network: what is shown is whole, and it goes on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from functools import cache
from itertools import pairwise
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from edge_node.aio.clock import SystemClock
from edge_node.encode_plan.plan import Plan
from edge_node.media.luma_stamp import Stamp, read_stamp
from edge_node.media.pattern import PatternPainter
from edge_node.media.video_publication import VideoPublication
from edge_node.realtime.received import ReceivedTrack
from edge_node.realtime.streams import MediaStream
from tests.support.hub_client import running_hub
from tests.support.link import Link, running_link
from tests.support.peers import Tone, Watcher, close, peer_of
from tests.support.video_sink import StubSource
from tests.support.waiting import eventually

SIZE = (480, 360)
FPS = 30
LOOP = 120
PAINTER = PatternPainter(*SIZE)
# A picture that refers to a lost one shows the box where it was: some 20 dB. The coarsest whole one here has 30.
BROKEN_DB = 26.0


@cache
def painted(index: int) -> av.VideoFrame:
    """The picture of this number."""
    return PAINTER.paint(f"{index:02d}", Stamp(index, 0), index / FPS * 3)


def luma(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    plane = frame.planes[0]
    rows: npt.NDArray[np.uint8] = np.frombuffer(bytes(plane), np.uint8)
    return rows.reshape(plane.height, plane.line_size)[:, : plane.width]


class Film(MediaStreamTrack):
    """The same pictures as frames, for an encoder in the sender."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._began = asyncio.get_running_loop().time()

    async def recv(self) -> av.VideoFrame:
        if self.readyState != "live":
            raise MediaStreamError
        self._count += 1
        await asyncio.sleep(max(0.0, self._began + self._count / FPS - asyncio.get_running_loop().time()))
        frame = av.VideoFrame.from_ndarray(painted(self._count % LOOP).to_ndarray(), format="yuv420p")
        frame.pts, frame.time_base = self._count * 3000, Fraction(1, 90_000)
        return frame


class Viewer:
    """Looks at every picture: `broken` has the quality (dB) of those that are not what was painted."""

    def __init__(self, track: ReceivedTrack) -> None:
        self.track = track
        self.pictures = 0
        self.broken: list[float] = []
        self.times: list[int] = []
        self._task = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        while True:
            frame = await self.track.recv()
            seen = luma(frame)
            stamp = read_stamp(seen)
            quality = -1.0 if stamp is None else psnr(seen, luma(painted(stamp.index)))
            if quality < BROKEN_DB:
                self.broken.append(quality)
            self.times.append(frame.pts)
            self.pictures += 1

    async def more(self, pictures: int) -> None:
        """Waits for so many from now on."""
        wanted = self.pictures + pictures
        await eventually(lambda: self.pictures >= wanted, 30)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        assert self.broken == []
        assert self.times == sorted(set(self.times))


def psnr(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> float:
    error = float(np.mean((a.astype(np.float64) - b) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-9))


@asynccontextmanager
async def camera() -> AsyncIterator[VideoPublication]:
    """Our publisher, with the painted pictures."""
    clock = SystemClock()
    published = VideoPublication(Plan(*SIZE, FPS, 800, 50, "libx264", "3.1"), clock, StubSource())

    async def play() -> None:
        began = clock.monotonic()
        count = 0
        while True:
            published.picture(painted(count % LOOP), clock.monotonic())
            count += 1
            await asyncio.sleep(max(0.0, began + count / FPS - clock.monotonic()))

    task = asyncio.get_running_loop().create_task(play())
    try:
        yield published
    finally:
        task.cancel()
        await asyncio.wait([task])
        await published.close()


@asynccontextmanager
async def watched(codec: str = "H264") -> AsyncIterator[tuple[Viewer, Link]]:
    """A viewer who saw some pictures already, over a network that is still good."""
    async with camera() as published, running_hub() as hub, running_link(hub, delay_ms=5) as link:  # noqa: SIM117
        async with call(published.track if codec == "H264" else Film(), link) as watcher:
            viewer = Viewer(await watcher.track("video"))
            await viewer.more(10)
            yield viewer, link
            await viewer.end()


@asynccontextmanager
async def call(source: Any, link: Link) -> AsyncIterator[Watcher]:
    sender, receiver = peer_of(link, "aa", ice_servers=[]), peer_of(link, "zz", ice_servers=[])
    watcher = Watcher(receiver)
    sender.add_track(source, MediaStream(id="node:x"))
    await sender.join("room")
    await receiver.join("room")
    try:
        yield watcher
    finally:
        await close(receiver, sender)


async def test_losses_are_repaired_and_nothing_broken_is_shown() -> None:
    async with watched() as (viewer, link):
        path = link.path("aa", "zz")
        link.set(loss_percent=10, late_percent=5, late_ms=12)
        await eventually(lambda: path.counters.lost >= 10 and path.counters.late >= 3, 60)
        link.set(loss_percent=0, late_percent=0)
        await viewer.more(10)
        stats = viewer.track.stats()
        assert stats.nacks >= 5 and stats.repair_ms is not None
        assert path.counters.resent_packets >= 5


@pytest.mark.parametrize("codec", ["H264", "VP8"])
async def test_without_any_repair_nothing_broken_is_shown(codec: str) -> None:
    async with watched(codec) as (viewer, link):
        link.set(loss_percent=5, repairs=False)
        await eventually(lambda: viewer.track.stats().given_up >= 3, 60)
        link.set(loss_percent=0)
        await viewer.more(20)
        stats = viewer.track.stats()
        assert stats.plis >= 1 and stats.nacks > stats.holes > 0


async def test_a_network_that_is_away_for_a_while() -> None:
    async with watched() as (viewer, link):
        path = link.path("aa", "zz")
        path.set(open=False)
        await eventually(lambda: path.counters.filtered >= 30, 30)
        path.set(open=True)
        await viewer.more(20)


async def test_sound_keeps_its_time_over_losses() -> None:
    async with running_hub() as hub, running_link(hub, delay_ms=5) as link, call(Tone(440), link) as watcher:
        track = await watcher.track("audio")
        await track.recv()
        path = link.path("aa", "zz")
        link.set(loss_percent=10, late_percent=10, late_ms=22)
        times: list[int] = []
        async with asyncio.timeout(30):
            while track.stats().holes < 3 or path.counters.late < 3:
                times.append((await track.recv()).pts)
        steps = [b - a for a, b in pairwise(times)]
        assert all(step > 0 and step % 960 == 0 for step in steps) and max(steps) > 960
