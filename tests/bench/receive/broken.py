"""How many of the pictures shown are not what was sent, when losses cannot be repaired."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

import av
import numpy as np
import numpy.typing as npt

from edge_node.aio.clock import SystemClock
from edge_node.encode_plan.plan import Plan
from edge_node.media.luma_stamp import Stamp, read_stamp
from edge_node.media.pattern import PatternPainter
from edge_node.media.video_publication import VideoPublication
from edge_node.realtime.aiortc_receiver import FORCED
from edge_node.realtime.received import ReceivedTrack
from edge_node.realtime.streams import MediaStream
from tests.bench.runner import Report, median
from tests.support.hub_client import running_hub
from tests.support.link import Link, running_link
from tests.support.peers import Watcher, peer_of
from tests.support.video_sink import StubSource

SIZE = (480, 360)
FPS = 30
LOOP = 120
PAINTER = PatternPainter(*SIZE)
BROKEN_DB = 26.0
"""A picture that refers to a lost one shows the box where it was: some 20 dB. The coarsest whole one here has 30."""
LOSSY: dict[str, Any] = {"delay_ms": 10, "loss_percent": 5, "repairs": False}


@cache
def painted(index: int) -> av.VideoFrame:
    """The picture of this number."""
    return PAINTER.paint(f"{index:02d}", Stamp(index, 0), index / FPS * 3)


def luma(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    plane = frame.planes[0]
    rows: npt.NDArray[np.uint8] = np.frombuffer(bytes(plane), np.uint8)
    return rows.reshape(plane.height, plane.line_size)[:, : plane.width]


def is_broken(frame: av.VideoFrame) -> bool:
    """Whether it is none of the painted ones."""
    seen = luma(frame)
    stamp = read_stamp(seen)
    if stamp is None or stamp.index >= LOOP:
        return True
    error = float(np.mean((seen.astype(np.float64) - luma(painted(stamp.index))) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-9)) < BROKEN_DB


async def _play(published: VideoPublication, clock: SystemClock) -> None:
    began, count = clock.monotonic(), 0
    while True:
        published.picture(painted(count % LOOP), clock.monotonic())
        count += 1
        await asyncio.sleep(max(0.0, began + count / FPS - clock.monotonic()))


@asynccontextmanager
async def _viewer(receiver: str, clock: SystemClock) -> AsyncIterator[tuple[ReceivedTrack, Link]]:
    """A viewer who saw the first picture, with ours (`own`) or aiortc's (`stock`) receiver."""
    os.environ[FORCED] = receiver
    published = VideoPublication(Plan(*SIZE, FPS, 800, 50, "libx264", "3.1"), clock, StubSource())
    playing = asyncio.get_running_loop().create_task(_play(published, clock))
    try:
        async with running_hub() as hub, running_link(hub) as link:
            node, person = peer_of(link, "node", ice_servers=[]), peer_of(link, "person", ice_servers=[])
            watcher = Watcher(person)
            node.add_track(published.track, MediaStream(id="node:x"))
            await node.join("room")
            await person.join("room")
            track = await watcher.track("video")
            await track.recv()
            yield track, link
            await person.close()
            await node.close()
    finally:
        playing.cancel()
        await asyncio.wait([playing])
        await published.close()


async def shown(receiver: str, seconds: float, clock: SystemClock) -> tuple[int, int]:
    """Pictures shown over losses that nothing repairs, and those of them that are broken."""
    pictures = broken = 0
    async with _viewer(receiver, clock) as (track, link):
        link.set(**LOSSY)
        end = clock.monotonic() + seconds
        while clock.monotonic() < end:
            async with asyncio.timeout(20):
                broken += is_broken(await track.recv())
            pictures += 1
    return pictures, broken


async def without_repairs(report: Report, rounds: int, seconds: float) -> None:
    """Ours is judged, aiortc's stands beside it; they take turns."""
    clock = SystemClock()
    found: dict[str, list[tuple[int, int]]] = {"own": [], "stock": []}
    for number in range(rounds):
        for receiver in list(found)[:: -1 if number % 2 else 1]:
            found[receiver].append(await shown(receiver, seconds, clock))
    for receiver, runs in found.items():
        shares = [100 * broken / max(1, pictures) for pictures, broken in runs]
        note = f"5 % loss, nothing repaired, {rounds} times {seconds:g} s; each: {' '.join(f'{s:.0f}' for s in shares)}"
        name = f"{receiver}: broken pictures shown"
        if receiver == "own":  # not one, in no run
            report.judge(name, max(shares), "%", note, at_most=0)
        else:
            report.add(name, median(shares), "%", note)
        report.add(f"{receiver}: pictures shown", median([n / seconds for n, _ in runs]), "fps")
