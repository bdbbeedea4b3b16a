"""Viewers that decode: how late pictures are, how soon the first one comes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge_node.media.luma_stamp import read_stamp
from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.aiortc_receiver import FORCED
from edge_node.realtime.received import ReceivedTrack
from tests.bench.media.bench import OFFICIAL, Sizes
from tests.bench.media.contenders import Contender, Publishing, publisher
from tests.bench.media.publisher import FPS
from tests.bench.runner import Report, median
from tests.support.h264_clip import load_clip, read_counter
from tests.support.rtsp_server import RtspServer
from tests.support.waiting import eventually

FIRST_S = 20.0
WARM_UP_S = 1.5
Luma = npt.NDArray[np.uint8]
ReadDelay = Callable[[Luma, float], float | None]
"""(brightness, time of decoding) → seconds since the picture was made, None when it cannot be read."""


class Viewer:
    """A peer in this process that decodes; `first_s` is from its connection to its first picture."""

    def __init__(self, link: PeerLink, track: ReceivedTrack) -> None:
        self.link = link
        self.track = track
        self.connected_at = 0.0

    def state_changed(self, link: PeerLink, state: str) -> None:
        if state == "connected" and not self.connected_at:
            self.connected_at = time.monotonic()

    async def first_s(self) -> float:
        """Seconds from DTLS to the first decoded picture."""
        async with asyncio.timeout(FIRST_S):
            await self.track.recv()
        return max(0.0, time.monotonic() - self.connected_at)

    async def delays(self, seconds: float, delay_of: ReadDelay) -> list[float]:
        """How late each picture of the next `seconds` was, in seconds."""
        found = []
        end = time.monotonic() + seconds
        async with asyncio.timeout(seconds + FIRST_S):
            while (now := time.monotonic()) < end:
                frame = await self.track.recv()
                now = time.monotonic()
                plane = frame.planes[0]
                luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
                delay = delay_of(luma, now)
                if delay is not None:
                    found.append(delay)
        return found


@asynccontextmanager
async def viewer(publishing: Publishing) -> AsyncIterator[Viewer]:
    """One more viewer of it, connected."""
    heard: list[Viewer] = []

    def on_state(link: PeerLink, state: str) -> None:
        if heard:
            heard[0].state_changed(link, state)

    link = PeerLink((), False, on_state, lambda _: None, lambda *_: None)
    try:
        index, offer = await publishing.offer()
        sections = await link.apply_offer(offer)
        transceiver: Any = link.pc.getTransceivers()[0]
        transceiver.direction = "recvonly"
        router = link.router(sections[0].mid)
        assert router is not None
        track = router.track = ReceivedTrack("video", None)
        viewed = Viewer(link, track)
        heard.append(viewed)
        await publishing.answer(index, await link.answer())
        await eventually(lambda: viewed.connected_at > 0, 20)
        yield viewed
    finally:
        await link.close()


@asynccontextmanager
async def receiver(kind: str) -> AsyncIterator[None]:
    """Viewers of this process receive with ours (`own`) or aiortc's (`stock`) receiver."""
    before = os.environ.get(FORCED)
    os.environ[FORCED] = kind
    try:
        yield
    finally:
        os.environ.pop(FORCED)
        if before is not None:
            os.environ[FORCED] = before


def stamped(luma: Luma, now: float) -> float | None:
    """Of a picture with a clock in it."""
    stamp = read_stamp(luma)
    return None if stamp is None else (int(now * 1000) - stamp.at_ms) % 2**32 / 1000


class TimedServer(RtspServer):
    """A camera that knows when it began to send each picture of its clip last."""

    def __init__(self, clip_path: Path) -> None:
        super().__init__(load_clip(clip_path, FPS))
        self.sent_at = [0.0] * len(self.payloads)
        self.payloads = Timed(self.payloads, self.sent_at)

    def delay_of(self, luma: Luma, now: float) -> float | None:
        """Of a picture with its number in it."""
        number = read_counter(luma)
        if number >= len(self.sent_at) or not self.sent_at[number]:
            return None
        return now - self.sent_at[number]


class Timed(list[Any]):
    """Payloads of pictures; notes when each picture is taken out."""

    def __init__(self, items: list[Any], taken_at: list[float]) -> None:
        super().__init__(items)
        self._taken_at = taken_at

    def __getitem__(self, index: Any) -> Any:
        self._taken_at[index] = time.monotonic()
        return super().__getitem__(index)


async def delay(report: Report, sizes: Sizes, clip: Path) -> None:
    """Capture to decoded on loopback, ours and the official SDK's, raw and RTSP: medians of each round's p50."""
    found: dict[str, list[list[float]]] = {}
    limits = {"ours, encoded": 15.0, "ours, RTSP": 20.0}
    for number in range(sizes.rounds):
        for name, kind, how in (
            ("ours, encoded", "encoded", "own"),
            (OFFICIAL, "official", "stock"),
            ("ours, RTSP", "rtsp", "own"),
            (f"{OFFICIAL}, RTSP", "official-rtsp", "stock"),
        )[:: -1 if number % 2 else 1]:
            server = TimedServer(clip)
            delay_of = server.delay_of if kind.endswith("rtsp") else stamped
            async with (
                server,
                receiver(how),
                publisher(Contender(name, kind, ()), clip, server.url) as publishing,
                viewer(publishing) as viewed,
            ):
                await viewed.first_s()
                await viewed.delays(WARM_UP_S if sizes.settle else 0.1, delay_of)
                found.setdefault(name, []).append(await viewed.delays(sizes.delay_s, delay_of))
    for name, rounds in found.items():
        label = f"capture to decoded, p50, {name}"
        medians = [median(delays) * 1000 for delays in rounds if delays]
        if not medians:
            report.reasons.append(f"{label}: no picture could be read")
            continue
        together = sorted(delay for delays in rounds for delay in delays)
        each = " ".join(f"{value:.1f}" for value in medians)
        note = f"p95 {together[len(together) * 95 // 100] * 1000:.0f} ms, {len(together)} pictures; each: {each}"
        report.judge(label, median(medians), "ms", note, at_most=limits.get(name))


async def join(report: Report, sizes: Sizes, clip: Path) -> None:
    """From DTLS to the first decoded picture, of a stream that runs."""
    found: dict[str, list[float]] = {"encoded": [], "handed through": []}
    joined = count(1)
    for _ in range(sizes.rounds):
        for (name, times), kind in zip(found.items(), ("encoded", "coded"), strict=True):
            async with publisher(Contender(name, kind, ()), clip, "") as publishing, viewer(publishing) as present:
                await present.first_s()  # somebody watches already
                for _ in range(sizes.joins):
                    if sizes.settle:
                        await asyncio.sleep(0.5 + 0.61 * next(joined) % 3)  # anywhere in the group of pictures
                    async with viewer(publishing) as viewed:
                        times.append(await viewed.first_s() * 1000)
    for name, times in found.items():
        each = " ".join(f"{value:.0f}" for value in sorted(times))
        report.judge(f"first picture after DTLS, {name}", median(times), "ms", f"each: {each}", at_most=50)
