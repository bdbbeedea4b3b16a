"""`edge-node bench receive`: how late pictures are, how they go on over a lossy path, beside aiortc's own receiver."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import av
import numpy as np

from edge_node.aio.clock import SystemClock
from edge_node.encode_plan.plan import Plan
from edge_node.media.luma_stamp import read_stamp
from edge_node.media.pattern import PatternSource
from edge_node.media.video_publication import VideoPublication
from edge_node.ports import VideoSink
from edge_node.realtime.aiortc_receiver import FORCED
from edge_node.realtime.received import ReceivedTrack
from edge_node.realtime.streams import MediaStream
from tests.bench.receive.broken import without_repairs
from tests.bench.runner import Report, median, present, words
from tests.support.hub_client import running_hub
from tests.support.link import Link, is_rtp, running_link
from tests.support.peers import Watcher, peer_of

SIZE = (1280, 720)
FPS = 30
KBPS = 2000
FREEZE_S = 0.2
STEP_S = 0.005
STALL_S = 0.02
RESENT_PERCENT = 25
LOSSY = {"delay_ms": 10, "loss_percent": 5, "late_percent": 1, "late_ms": 12}


@dataclass
class Seen:
    """What a viewer saw: seconds from capture to decoded picture, when each came, those that could not be read."""

    delays_s: list[float] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    unreadable: int = 0

    @property
    def gaps(self) -> list[float]:
        return [b - a for a, b in pairwise(self.times)] or [0.0]


@dataclass
class Machine:
    """What the machine made of it: until when the event loop stood still, or no picture left, and for how long."""

    clock: SystemClock
    stalls: list[tuple[float, float]] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)
    _newest: tuple[float, int] | None = None
    """When the newest picture began to leave, its timestamp."""

    def sent(self, packet: bytes) -> bool:
        """A Path's rule, that drops nothing: sees each packet of the publisher."""
        if not is_rtp(packet):
            return False
        now, timestamp = self.clock.monotonic(), int.from_bytes(packet[4:8])
        if self._newest is None:
            self._newest = (now, timestamp)
        elif 0 < (timestamp - self._newest[1]) % 2**32 < 2**31:  # of a newer picture: not one that is sent again
            self.pauses.append((now, now - self._newest[0]))
            self._newest = (now, timestamp)
        return False

    async def look(self) -> None:
        """Looks at the event loop until cancelled."""
        before = self.clock.monotonic()
        while True:
            await asyncio.sleep(STEP_S)
            now = self.clock.monotonic()
            self.stalls.append((now, now - before - STEP_S))
            before = now

    def share(self, start: float, end: float) -> float:
        """Seconds of a gap between two pictures that the machine made."""
        stalls = sum(s for at, s in self.stalls if s > STALL_S and start < at and at - s < end)
        pauses = [s - 1 / FPS for at, s in self.pauses if start < at and at - s < end]
        return max([stalls, *pauses])


class Grainy:
    """Lays grain over the pictures on their way to a publication, so that they need the rate that they may have."""

    def __init__(self, published: VideoPublication) -> None:
        luck = np.random.default_rng(1)
        self._published = published
        self._grains = [luck.integers(0, 14, (SIZE[1] * 2 // 3, SIZE[0]), dtype=np.uint8) for _ in range(8)]
        self._count = 0

    def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
        plane: Any = frame.planes[0]
        luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size).copy()
        grain = self._grains[self._count % len(self._grains)]
        luma[: grain.shape[0], : grain.shape[1]] += grain
        plane.update(luma.tobytes())
        self._count += 1
        self._published.picture(frame, captured_at)

    def unit(self, unit: Any) -> None:
        raise AssertionError("the pattern paints pictures")


async def watch(track: ReceivedTrack, seconds: float, clock: SystemClock) -> Seen:
    """Reads a track for a while."""
    seen = Seen()
    end = clock.monotonic() + seconds
    while clock.monotonic() < end:
        async with asyncio.timeout(10):
            frame = await track.recv()
        now = clock.monotonic()
        plane = frame.planes[0]
        luma = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        stamp = read_stamp(luma)
        seen.times.append(now)
        if stamp is None:
            seen.unreadable += 1
        else:
            seen.delays_s.append((int(now * 1000) - stamp.at_ms) % 2**32 / 1000)
    return seen


@asynccontextmanager
async def viewer(receiver: str, clock: SystemClock) -> AsyncIterator[tuple[ReceivedTrack, Link]]:
    """A viewer of our publisher, who saw the first picture, with ours or the stock receiver."""
    os.environ[FORCED] = receiver
    source = PatternSource(*SIZE, FPS, clock)
    published = VideoPublication(Plan(*SIZE, FPS, KBPS, 50, "libx264", "3.1"), clock, source)
    sink: VideoSink = Grainy(published)
    painting = asyncio.get_running_loop().create_task(source.run(sink))
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
    painting.cancel()
    await asyncio.wait([painting])
    await published.close()


async def measure(report: Report, rounds: int, seconds: float, lossy_s: float, broken_s: float) -> None:
    clock = SystemClock()
    delays: dict[str, list[float]] = {"own": [], "stock": []}
    for _ in range(rounds):
        for receiver, found in delays.items():
            async with viewer(receiver, clock) as (track, _):
                found += (await watch(track, seconds, clock)).delays_s
    for receiver, found in delays.items():
        report.add(f"{receiver}: capture to decoded, p50", median(found) * 1000, "ms")
        report.add(f"{receiver}: capture to decoded, p95", sorted(found)[len(found) * 95 // 100] * 1000, "ms")
    runs: dict[str, list[LossyRun]] = {"own": [], "stock": []}
    for number in range(rounds):
        for receiver in list(runs)[:: -1 if number % 2 else 1]:
            runs[receiver].append(await over_losses(receiver, lossy_s, clock))
    for receiver, seen in runs.items():
        tell_losses(report, receiver, seen, lossy_s)
    await without_repairs(report, rounds, broken_s)


@dataclass(frozen=True, slots=True)
class LossyRun:
    """What one viewer saw over losses; `left` are the freezes that the machine did not make."""

    freezes: int
    left: int
    frozen_s: float
    longest_s: float
    longest_sent_s: float
    longest_stall_s: float
    fps: float
    resent_percent: float
    unreadable: int


async def over_losses(receiver: str, seconds: float, clock: SystemClock) -> LossyRun:
    """A fresh viewer over a lossy path."""
    machine = Machine(clock)
    looking = asyncio.get_running_loop().create_task(machine.look())
    async with viewer(receiver, clock) as (track, link):
        path = link.path("node", "person")
        path.set(drop=machine.sent)
        link.set(**LOSSY)
        before = replace(path.counters)
        seen = await watch(track, seconds, clock)
        resent = path.counters.resent_bytes - before.resent_bytes
        resent_percent = 100 * resent / (path.counters.media_bytes - before.media_bytes)
    looking.cancel()
    await asyncio.wait([looking])
    freezes = [(a, b) for a, b in pairwise(seen.times) if b - a > FREEZE_S]
    return LossyRun(
        freezes=len(freezes),
        left=sum(b - a - machine.share(a, b) > FREEZE_S for a, b in freezes),
        frozen_s=sum(b - a for a, b in freezes),
        longest_s=max(seen.gaps),
        longest_sent_s=max([s for _, s in machine.pauses], default=0.0),
        longest_stall_s=max(s for _, s in machine.stalls),
        fps=len(seen.times) / seconds,
        resent_percent=resent_percent,
        unreadable=seen.unreadable,
    )


def tell_losses(report: Report, receiver: str, runs: Sequence[LossyRun], seconds: float) -> None:
    """Medians of the runs; ours is judged, aiortc's stands beside it."""
    own = receiver == "own"

    def tell(name: str, values: Sequence[float], unit: str, note: str, at_most: float | None = None) -> None:
        each = "each: " + " ".join(f"{value:.3g}" for value in values)
        report.judge(f"{receiver}: {name}", median(values), unit, f"{note}{each}", at_most=at_most if own else None)

    name = f"freezes above {FREEZE_S * 1000:g} ms"
    tell(name, [r.freezes for r in runs], "", f"5 % loss and 1 % late both ways, 10 ms each way, {seconds:g} s; ")
    without = "without what the event loop or the publisher stood still; "
    tell(f"{name}, by losses", [r.left for r in runs], "", without, 0)
    tell("frozen", [r.frozen_s for r in runs], "s", "")
    tell("longest gap", [r.longest_s * 1000 for r in runs], "ms", "")
    tell("longest gap as sent", [r.longest_sent_s * 1000 for r in runs], "ms", "")
    tell("longest stall of the event loop", [r.longest_stall_s * 1000 for r in runs], "ms", "")
    tell("pictures", [r.fps for r in runs], "fps", "")
    tell("sent again", [r.resent_percent for r in runs], "%", "of the media's bytes; ", RESENT_PERCENT)
    report.judge(f"{receiver}: unreadable pictures", sum(r.unreadable for r in runs), at_most=0 if own else None)


def main(argv: Sequence[str]) -> int:
    parser = words("receive", __doc__ or "")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="of alternation; 5, the default: 13 minutes")
    args = parser.parse_args(argv)
    report = Report("receive", quick=args.quick)
    before = os.environ.get(FORCED)
    try:
        asyncio.run(measure(report, 1, 1.0, 2.0, 1.0) if args.quick else measure(report, args.rounds, 6.0, 35.0, 15.0))
    finally:
        os.environ.pop(FORCED, None)
        if before is not None:
            os.environ[FORCED] = before
    present(report, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
