"""What Chromium sees over paths that lose, delay and queue."""

from __future__ import annotations

import asyncio

from tests.bench.media.contenders import Contender
from tests.bench.network.lab import Lab, Second, Watching, watching
from tests.bench.network.sizes import Sizes
from tests.bench.runner import Report, median

OURS = Contender("ours, encoded", "encoded", ())
HANDED = Contender("ours, handed through", "coded", ())
STOCK = Contender("aiortc's sender", "coded", (), stock_sender=True)
SETTLE_S = 3


def _fps(seconds: list[Second]) -> float:
    return sum(second.fps for second in seconds) / max(1, len(seconds))


def _frozen(seconds: list[Second]) -> float:
    return sum(second.frozen_s for second in seconds)


def _each(seconds: list[Second]) -> str:
    return "each second: " + " ".join(f"{second.fps:.0f}" for second in seconds)


async def _settle(watched: Watching, sizes: Sizes) -> float | None:
    first = await watched.first_ms()
    await asyncio.sleep(SETTLE_S if sizes.settle else 0.1)
    return first


async def clean(report: Report, sizes: Sizes, lab: Lab) -> None:
    """A path without faults: the first picture, no PLI after it, all pictures."""
    clip = await lab.clip(2000, 3)
    for contender in (OURS, HANDED):
        firsts, plis, seen = [], 0, []
        for _ in range(sizes.joins):
            async with watching(lab, contender, clip) as watched:
                first = await watched.first_ms()
                firsts.append(15_000.0 if first is None else first)
                _, before = await watched.nacks()
                await asyncio.sleep(SETTLE_S if sizes.settle else 0.1)
                seen += await watched.seconds(sizes.seconds // 2)
                plis += (await watched.nacks())[1] - before
        name, each = contender.name, " ".join(f"{first:.0f}" for first in firsts)
        report.judge(f"{name}: first picture after ICE", median(firsts), "ms", f"each: {each}", at_most=150)
        report.judge(f"{name}: PLI after it", plis, at_most=0)
        report.judge(f"{name}: pictures", _fps(seen), "fps", _each(seen), at_least=29.5)
        report.judge(f"{name}: dropped", sum(second.dropped for second in seen), at_most=0)


async def loss(report: Report, sizes: Sizes, lab: Lab) -> None:
    """5 % loss both ways at 20 ms RTT."""
    clip = await lab.clip(2000, 3)
    for contender in (OURS, HANDED, STOCK):
        async with watching(lab, contender, clip, delay_ms=10) as watched:
            await _settle(watched, sizes)
            watched.link.set(loss_percent=5)
            seen = await watched.seconds(sizes.seconds)
            share = watched.resent_percent()
        name = f"5 % loss, {contender.name}"
        ours = contender is not STOCK
        report.judge(f"{name}: pictures", _fps(seen), "fps", _each(seen), at_least=29 if ours else None)
        report.judge(f"{name}: frozen", _frozen(seen), "s", f"of {len(seen)} s", at_most=1 if ours else None)
        report.judge(f"{name}: repairs", share, "% of media", at_most=25 if ours else None)


async def far(report: Report, sizes: Sizes, lab: Lab) -> None:
    """2 % loss at 300 ms RTT and 4 Mbit/s."""
    clip = await lab.clip(4000, 3)
    for contender in (HANDED, STOCK):
        async with watching(lab, contender, clip, delay_ms=150) as watched:
            await _settle(watched, sizes)
            watched.link.set(loss_percent=2)
            seen = await watched.seconds(sizes.seconds)
            share = watched.resent_percent()
        name = f"300 ms, 2 % loss, {contender.name}"
        ours = contender is not STOCK
        report.judge(f"{name}: pictures", _fps(seen), "fps", _each(seen), at_least=25 if ours else None)
        report.judge(f"{name}: repairs", share, "% of media", at_most=25 if ours else None)


async def queue(report: Report, sizes: Sizes, lab: Lab) -> None:
    """10 Mbit/s with a queue of 20 kB, a keyframe of about 60 kB each second."""
    clip = await lab.clip(2000, 1)
    for contender in (HANDED, STOCK):
        async with watching(lab, contender, clip, delay_ms=5, rate_kbps=10_000, queue_bytes=20_000) as watched:
            await _settle(watched, sizes)
            seen = await watched.seconds(sizes.seconds)
            counters = watched.forth.counters
        name = f"small queue, {contender.name}"
        lost = 100 * counters.overflowed / max(1, counters.packets)
        ours = contender is not STOCK
        note = f"{counters.overflowed} of {counters.packets} packets"
        report.judge(f"{name}: dropped by the queue", lost, "%", note, at_most=0 if ours else None)
        report.add(f"{name}: pictures", _fps(seen), "fps", _each(seen))


async def narrow(report: Report, sizes: Sizes, lab: Lab) -> None:
    """20, then 1 Mbit/s with a queue of 50 kB."""
    clip = await lab.steady_clip(2000, 1)
    for contender, kind in ((OURS, "encoded"), (HANDED, "handed through")):
        async with watching(lab, contender, clip, delay_ms=10, rate_kbps=20_000, queue_bytes=50_000) as watched:
            # The browser's first estimate comes after some 5 s; it follows the rate only slowly.
            await watched.first_ms()
            await asyncio.sleep(sizes.estimate_s)
            watched.link.set(rate_kbps=1000)
            seen = await watched.seconds(sizes.narrow_s)
            share = watched.resent_percent()
        name = f"20 to 1 Mbit/s, {kind}"
        if contender is OURS:
            report.judge(f"{name}: worst second", min(s.fps for s in seen), "fps", _each(seen), at_least=20)
            report.judge(f"{name}: frozen", _frozen(seen), "s", at_most=0.5)
        else:
            settled = seen[len(seen) // 4 :]
            report.judge(f"{name}: pictures", _fps(settled), "fps", _each(seen), at_least=8)
        report.judge(f"{name}: repairs", share, "% of media", at_most=25)
