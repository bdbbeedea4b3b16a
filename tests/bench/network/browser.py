"""What Chromium sees over paths that lose, delay and queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.bench.media.contenders import Contender
from tests.bench.network.lab import Lab, Second, Watching, watching
from tests.bench.network.sizes import Sizes
from tests.bench.runner import Report, median

OURS = Contender("ours, encoded", "encoded", ())
HANDED = Contender("ours, handed through", "coded", ())
STOCK = Contender("aiortc's sender", "coded", (), stock_sender=True)
SETTLE_S = 3
NEVER_MS = 15_000.0


@dataclass(frozen=True, slots=True)
class Run:
    """One viewing: its seconds, repairs in % of the media, what the queue dropped of all packets; of a fresh page also
    when the first picture came, and the PLIs after it."""

    seen: Sequence[Second]
    repairs: float
    overflowed: int
    packets: int
    first_ms: float = NEVER_MS
    plis: int = 0

    def fps(self, after_s: int = 0) -> float:
        """Of the seconds after so many."""
        seen = self.seen[after_s:]
        return sum(second.fps for second in seen) / max(1, len(seen))

    @property
    def worst_fps(self) -> float:
        return min(second.fps for second in self.seen)

    @property
    def frozen_s(self) -> float:
        return sum(second.frozen_s for second in self.seen)


async def _alternate(
    sizes: Sizes, contenders: Sequence[Contender], once: Callable[[Contender], Awaitable[Run]]
) -> list[tuple[Contender, list[Run]]]:
    """All contenders in turn, `rounds` times, every other time in the opposite order."""
    found: dict[str, list[Run]] = {contender.name: [] for contender in contenders}
    for number in range(sizes.rounds):
        for contender in contenders[:: -1 if number % 2 else 1]:
            found[contender.name].append(await once(contender))
    return [(contender, found[contender.name]) for contender in contenders]


def _run(watched: Watching, seen: Sequence[Second], first_ms: float = NEVER_MS, plis: int = 0) -> Run:
    counters = watched.forth.counters
    return Run(seen, watched.resent_percent(), counters.overflowed, counters.packets, first_ms, plis)


def _each(values: Sequence[float]) -> str:
    return "each run: " + " ".join(f"{value:.3g}" for value in values)


def _judge_fps(report: Report, name: str, values: Sequence[float], at_least: float | None) -> None:
    """The median of the runs; the worst one stands beside it."""
    report.judge(name, median(values), "fps", f"worst {min(values):.3g}; {_each(values)}", at_least=at_least)


def _judge_frozen(report: Report, name: str, runs: Sequence[Run], at_most: float | None) -> None:
    values = [run.frozen_s for run in runs]
    note = f"of {len(runs[0].seen)} s, worst {max(values):.2g}; {_each(values)}"
    report.judge(f"{name}: frozen", median(values), "s", note, at_most=at_most)


def _judge_repairs(report: Report, name: str, runs: Sequence[Run], *, ours: bool) -> None:
    """No run may be above the limit."""
    values = [run.repairs for run in runs]
    report.judge(f"{name}: repairs, most", max(values), "% of media", _each(values), at_most=25 if ours else None)


async def _settle(watched: Watching, sizes: Sizes) -> None:
    await watched.first_ms()
    await asyncio.sleep(SETTLE_S if sizes.settle else 0.1)


async def clean(report: Report, sizes: Sizes, lab: Lab) -> None:
    """A path without faults: the first picture, no PLI after it, all pictures."""
    clip = await lab.clip(2000, 3)

    async def once(contender: Contender) -> Run:
        async with watching(lab, contender, clip) as watched:
            first = await watched.first_ms()
            _, before = await watched.nacks()
            await asyncio.sleep(SETTLE_S if sizes.settle else 0.1)
            seen = await watched.seconds(max(1, sizes.seconds // 2))
            plis = (await watched.nacks())[1] - before
            return _run(watched, seen, NEVER_MS if first is None else first, plis)

    for contender, runs in await _alternate(sizes, (OURS, HANDED), once):
        name, firsts = contender.name, [run.first_ms for run in runs]
        report.judge(f"{name}: first picture after ICE", median(firsts), "ms", _each(firsts), at_most=150)
        report.judge(f"{name}: PLI after it", sum(run.plis for run in runs), at_most=0)
        _judge_fps(report, f"{name}: pictures", [run.fps() for run in runs], 29.5)
        dropped = sum(second.dropped for run in runs for second in run.seen)
        report.judge(f"{name}: dropped", dropped, note=f"in {len(runs)} runs", at_most=0)


async def loss(report: Report, sizes: Sizes, lab: Lab) -> None:
    """5 % loss both ways at 20 ms RTT."""
    clip = await lab.clip(2000, 3)

    async def once(contender: Contender) -> Run:
        async with watching(lab, contender, clip, delay_ms=10) as watched:
            await _settle(watched, sizes)
            watched.link.set(loss_percent=5)
            return _run(watched, await watched.seconds(sizes.seconds))

    for contender, runs in await _alternate(sizes, (OURS, HANDED, STOCK), once):
        name, ours = f"5 % loss, {contender.name}", contender is not STOCK
        _judge_fps(report, f"{name}: pictures", [run.fps() for run in runs], 29 if ours else None)
        _judge_frozen(report, name, runs, 1 if ours else None)
        _judge_repairs(report, name, runs, ours=ours)


async def far(report: Report, sizes: Sizes, lab: Lab) -> None:
    """2 % loss at 300 ms RTT and 4 Mbit/s."""
    clip = await lab.clip(4000, 3)

    async def once(contender: Contender) -> Run:
        async with watching(lab, contender, clip, delay_ms=150) as watched:
            await _settle(watched, sizes)
            watched.link.set(loss_percent=2)
            return _run(watched, await watched.seconds(sizes.seconds))

    for contender, runs in await _alternate(sizes, (HANDED, STOCK), once):
        name, ours = f"300 ms, 2 % loss, {contender.name}", contender is not STOCK
        _judge_fps(report, f"{name}: pictures", [run.fps() for run in runs], 25 if ours else None)
        _judge_repairs(report, name, runs, ours=ours)


async def queue(report: Report, sizes: Sizes, lab: Lab) -> None:
    """10 Mbit/s with a queue of 20 kB, a keyframe of about 60 kB each second."""
    clip = await lab.clip(2000, 1)

    async def once(contender: Contender) -> Run:
        async with watching(lab, contender, clip, delay_ms=5, rate_kbps=10_000, queue_bytes=20_000) as watched:
            await _settle(watched, sizes)
            return _run(watched, await watched.seconds(sizes.seconds))

    for contender, runs in await _alternate(sizes, (HANDED, STOCK), once):
        name, ours = f"small queue, {contender.name}", contender is not STOCK
        lost = [100 * run.overflowed / max(1, run.packets) for run in runs]
        value = max(lost) if ours else median(lost)
        note = f"{sum(run.overflowed for run in runs)} of {sum(run.packets for run in runs)} packets; {_each(lost)}"
        report.judge(f"{name}: dropped by the queue", value, "%", note, at_most=0 if ours else None)
        _judge_fps(report, f"{name}: pictures", [run.fps() for run in runs], None)


async def narrow(report: Report, sizes: Sizes, lab: Lab) -> None:
    """20, then 1 Mbit/s with a queue of 50 kB."""
    clip = await lab.steady_clip(2000, 1)

    async def once(contender: Contender) -> Run:
        async with watching(lab, contender, clip, delay_ms=10, rate_kbps=20_000, queue_bytes=50_000) as watched:
            # The browser's first estimate comes after some 5 s; it follows the rate only slowly.
            await watched.first_ms()
            await asyncio.sleep(sizes.estimate_s)
            watched.link.set(rate_kbps=1000)
            return _run(watched, await watched.seconds(sizes.narrow_s))

    for contender, runs in await _alternate(sizes, (OURS, HANDED), once):
        if contender is OURS:
            name = "20 to 1 Mbit/s, encoded"
            _judge_fps(report, f"{name}: worst second", [run.worst_fps for run in runs], 20)
            _judge_frozen(report, name, runs, 0.5)
        else:
            name = "20 to 1 Mbit/s, handed through"
            settled = [run.fps(after_s=len(run.seen) // 4) for run in runs]
            _judge_fps(report, f"{name}: pictures", settled, 8)
        _judge_repairs(report, name, runs, ours=True)
