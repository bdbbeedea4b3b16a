"""Publishers of all makes as child processes, with viewers in another one."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edge_node.realtime import aiortc_hooks
from tests.bench.media.janus import running_janus
from tests.bench.media.publisher import FPS
from tests.support.process import Child, rss_mb

READY_S = 30.0


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that publishes: `kind` is one of publisher.KINDS or `janus`; `viewers` are the numbers to measure at.

    A smaller number after a larger one: viewers leave. `settle_s` passes before a measurement, `begin_s` before the
    first one.
    """

    name: str
    kind: str
    viewers: tuple[int, ...]
    stock_sender: bool = False
    settle_s: float = 1.0
    begin_s: float = 0.0
    turn: tuple[str, str, str] | None = None


class Publishing(Protocol):
    """One publisher at work."""

    pid: int

    async def offer(self) -> tuple[int, str]: ...
    async def answer(self, index: int, sdp: str) -> None: ...


async def ask(child: Child, want: str, **command: Any) -> dict[str, Any]:
    """A child's answer, which has the key `want`."""
    since = len(child.events)
    child.say(json.dumps(command))
    return await child.event(lambda event: want in event, since=since, timeout_s=READY_S)


class ChildPublishing:
    """A tests.bench.media.publisher."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self.pid = child.pid

    async def offer(self) -> tuple[int, str]:
        found = await ask(self._child, "sdp", do="offer")
        return found["id"], found["sdp"]

    async def answer(self, index: int, sdp: str) -> None:
        await ask(self._child, "connected", do="answer", id=index, sdp=sdp)

    async def drop(self, index: int) -> None:
        """Ends this viewer's connection."""
        await ask(self._child, "dropped", do="drop", id=index)

    async def path_kbps(self) -> list[int]:
        """What each viewer estimates its path to carry; 0 before the first estimate."""
        found: list[int] = (await ask(self._child, "path_kbps", do="counts"))["path_kbps"]
        return found


@asynccontextmanager
async def publisher(contender: Contender, clip: Path, url: str) -> AsyncIterator[Publishing]:
    """The contender at work, without viewers."""
    if contender.kind == "janus":
        async with running_janus(clip) as janus:
            yield janus
        return
    words = [contender.kind, "--clip", str(clip), "--url", url]
    if contender.turn:
        words += ["--turn", *contender.turn]
    env = {aiortc_hooks.FORCED: "stock" if contender.stock_sender else "own"}
    async with Child.module("tests.bench.media.publisher", *words, env=env) as child:
        await child.event(lambda event: "ready" in event, timeout_s=READY_S)
        yield ChildPublishing(child)


def cpu_s(pid: int) -> float:
    """CPU time of a process, all threads, in seconds, to the nanosecond (clock_getcpuclockid(3))."""
    return time.clock_gettime(~pid << 3 | 2)


@dataclass(slots=True)
class Measured:
    """One window: CPU in ms per second of media, memory, pictures per second and viewer, packets out of place."""

    cpu_ms: float
    rss_mb: float
    fps: float
    kbps: float
    gaps: int

    @property
    def per_media_s(self) -> float:
        """CPU in ms for as many pictures to each viewer as one second has."""
        return self.cpu_ms * FPS / max(self.fps, 1.0)


@dataclass(slots=True)
class Results:
    """All windows, by contender and number of viewers."""

    windows: dict[tuple[str, int], list[Measured]] = field(default_factory=dict)

    def add(self, name: str, viewers: int, measured: Measured) -> None:
        self.windows.setdefault((name, viewers), []).append(measured)


async def connect(publishing: Publishing, crowd: Child) -> int:
    """One more viewer; its number."""
    index, sdp = await publishing.offer()
    answer = await ask(crowd, "sdp", do="view", sdp=sdp)
    await publishing.answer(index, answer["sdp"])
    return index


async def measure(publishing: Publishing, crowd: Child, seconds: float) -> Measured:
    """What the publisher uses over `seconds`."""
    await ask(crowd, "counts", do="counts")
    began, cpu = time.monotonic(), cpu_s(publishing.pid)
    await asyncio.sleep(seconds)
    passed, cpu = time.monotonic() - began, cpu_s(publishing.pid) - cpu
    counts = (await ask(crowd, "counts", do="counts"))["counts"]
    each = 1 / passed / max(1, len(counts))
    return Measured(
        cpu_ms=cpu / passed * 1000,
        rss_mb=rss_mb(publishing.pid),
        fps=sum(viewer["pictures"] for viewer in counts) * each,
        kbps=sum(viewer["bytes"] for viewer in counts) * each / 125,
        gaps=sum(viewer["gaps"] for viewer in counts),
    )


async def _leave(publishing: Publishing, crowd: Child, gone: Sequence[int], left: int) -> None:
    assert isinstance(publishing, ChildPublishing), "only ours and the official SDK's let viewers go"
    await ask(crowd, "kept", do="keep", count=left)
    for index in gone:
        await publishing.drop(index)


async def one_turn(contender: Contender, clip: Path, url: str, seconds: float, results: Results) -> None:
    """A fresh publisher with fresh viewers, measured at each number of viewers."""
    async with AsyncExitStack() as stack:
        crowd = await stack.enter_async_context(Child.module("tests.bench.media.crowd", env=dict(os.environ)))
        publishing = await stack.enter_async_context(publisher(contender, clip, url))
        connected: list[int] = []
        for number, viewers in enumerate(contender.viewers):
            while len(connected) < viewers:
                connected.append(await connect(publishing, crowd))
            if len(connected) > viewers:
                await _leave(publishing, crowd, connected[viewers:], viewers)
                del connected[viewers:]
            await asyncio.sleep(contender.settle_s + (0 if number else contender.begin_s))
            results.add(contender.name, viewers, await measure(publishing, crowd, seconds))


async def alternate(contenders: Sequence[Contender], clip: Path, url: str, rounds: int, seconds: float) -> Results:
    """All contenders in turn, `rounds` times, every other time in the opposite order."""
    results = Results()
    for number in range(rounds):
        for contender in contenders[:: -1 if number % 2 else 1]:
            await one_turn(contender, clip, url, seconds, results)
    return results
