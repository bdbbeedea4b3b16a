"""Viewers that storm, stall or sit behind a bad path, and what the others notice of them; a relay."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.media.bench import Sizes as MediaSizes
from tests.bench.media.bench import Table
from tests.bench.media.contenders import Contender, Publishing, alternate, ask, connect, publisher
from tests.bench.media.publisher import FPS
from tests.bench.network.lab import PUBLISHER, Lab, NoHub, through
from tests.bench.network.sizes import Sizes
from tests.bench.runner import Report
from tests.support.link import Link
from tests.support.process import Child, rss_mb
from tests.support.turn import missing_turnserver, turn_server

OTHERS = 3
GOOD_KBPS = 3000
"""What a browser estimates with a stream of 2 Mbit/s: half as much again as it receives."""
BAD = {"loss_percent": 20, "delay_ms": 50, "rate_kbps": 1000, "queue_bytes": 20_000}


@dataclass(frozen=True, slots=True)
class Seen:
    """What the worst off of the quiet viewers got."""

    fps: float
    kbps: float
    gaps: int
    longest_ms: float


@dataclass(slots=True)
class Company:
    """One publisher, some quiet viewers, and one of whom they should notice nothing, behind a link of its own."""

    publishing: Publishing
    quiet: Child
    odd: Child
    link: Link

    async def quiet_during(self, work: Awaitable[Any]) -> Seen:
        """What the quiet viewers got meanwhile."""
        await ask(self.quiet, "counts", do="counts")
        began = time.monotonic()
        await work
        found: list[dict[str, Any]] = (await ask(self.quiet, "counts", do="counts"))["counts"]
        passed = time.monotonic() - began
        return Seen(
            fps=min(viewer["pictures"] for viewer in found) / passed,
            kbps=max(viewer["bytes"] for viewer in found) / passed / 125,
            gaps=sum(viewer["gaps"] for viewer in found),
            longest_ms=max(viewer["longest_ms"] for viewer in found),
        )


@asynccontextmanager
async def company(kind: str, clip: Path, settle_s: float) -> AsyncIterator[Company]:
    link = Link(NoHub(), 1, {})
    try:
        async with (
            Child.module("tests.bench.media.crowd", str(GOOD_KBPS)) as quiet,
            Child.module("tests.bench.media.crowd") as odd,
            publisher(Contender(kind, kind, ()), clip, "") as publishing,
        ):
            for _ in range(OTHERS):
                await connect(publishing, quiet)
            index, offer = await publishing.offer()
            answer = await ask(odd, "sdp", do="view", sdp=through(link, PUBLISHER, "odd", offer))
            await publishing.answer(index, through(link, "odd", PUBLISHER, answer["sdp"]))
            await asyncio.sleep(settle_s)
            yield Company(publishing, quiet, odd, link)
    finally:
        link.close()


async def _stall(company: Company, seconds: float) -> None:
    company.odd.signal(signal.SIGSTOP)
    await asyncio.sleep(seconds)
    company.odd.signal(signal.SIGCONT)


async def _storm(company: Company, seconds: float) -> None:
    await ask(company.odd, "plis", do="storm", seconds=seconds)


async def _bad_path(company: Company, seconds: float) -> None:
    company.link.set(**BAD)
    await asyncio.sleep(seconds)


TROUBLES: dict[str, Callable[[Company, float], Awaitable[None]]] = {
    "a viewer asks for 50 keyframes a second": _storm,
    "a viewer stalls": _stall,
    "a viewer on a bad path": _bad_path,
}


async def others(report: Report, sizes: Sizes, lab: Lab) -> None:
    """What three viewers notice of a fourth one's troubles, beside the same time without."""
    clip = await lab.clip(2000, 3)
    seconds = 5.0 if sizes.settle else 0.5
    for kind in ("encoded", "coded"):
        async with company(kind, clip, 7.0 if sizes.settle else 0.2) as present:
            calm = await present.quiet_during(asyncio.sleep(seconds))
            _tell(report, f"{kind}, calm", calm, None)
            for trouble, cause in TROUBLES.items():
                seen = await present.quiet_during(cause(present, seconds))
                _tell(report, f"{kind}, {trouble}", seen, calm)


def _tell(report: Report, name: str, seen: Seen, calm: Seen | None) -> None:
    note = f"longest pause {seen.longest_ms:.0f} ms, {seen.kbps:.0f} kbit/s"
    least = None if calm is None else round(0.97 * min(calm.fps, FPS), 1)
    report.judge(f"{name}: the others see", seen.fps, "fps", note, at_least=least)
    report.judge(f"{name}: the others miss", seen.gaps, "packets", at_most=None if calm is None else 0)


async def relay(report: Report, sizes: Sizes, lab: Lab) -> None:
    """One viewer through coturn, the direct path not offered: CPU beside aiortc's own sender."""
    if reason := missing_turnserver():
        report.reasons.append(f"relay: {reason}")
        return
    clip = await lab.clip(2000, 3)
    settle_s = 1.0 if sizes.settle else 0.1
    for transport in ("udp", "tcp"):
        folder = lab.folder / f"turn-{transport}"
        folder.mkdir()
        async with turn_server(folder, transport) as server:
            turn = (str(server.urls), server.username or "", server.credential or "")
            ours = Contender(f"ours, relayed over {transport}", "coded", (1,), settle_s=settle_s, turn=turn)
            stock = Contender(
                f"aiortc's sender, relayed over {transport}", "coded", (1,), True, settle_s=settle_s, turn=turn
            )  # fmt: skip
            results = await alternate((ours, stock), clip, "", sizes.rounds, sizes.window_s)
        table = Table(report, results, MediaSizes())
        table.tell()
        table.ratio(
            f"relayed over {transport} / aiortc's sender", table.cpu(ours.name, 1), table.cpu(stock.name, 1), 0.75
        )


async def growth(report: Report, sizes: Sizes, lab: Lab) -> None:
    """Memory and delay of a publisher with a viewer that stalls for 5 s twice a minute."""
    clip = await lab.clip(2000, 3)
    stall_s = 5.0 if sizes.settle else 0.5
    async with company("encoded", clip, 10.0 if sizes.settle else 0.2) as present:
        calm = await present.quiet_during(asyncio.sleep(stall_s))
        before_mb = rss_mb(present.publishing.pid)
        rounds = max(1, round(sizes.minutes * 60 / (6 * stall_s)))

        async def live() -> None:
            for _ in range(rounds):
                await _stall(present, stall_s)
                await asyncio.sleep(5 * stall_s)

        seen = await present.quiet_during(live())
        grown = rss_mb(present.publishing.pid) - before_mb
        report.judge(f"memory grown in {stall_s * rounds / 10:.1f} minutes", grown, "MB", at_most=10)
        _tell(report, f"{rounds} stalls", seen, calm)
