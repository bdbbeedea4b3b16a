"""What publishing costs per viewer: each table alternates its contenders in one run and compares medians."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from tests.bench.media import janus
from tests.bench.media.contenders import Contender, Measured, Results, alternate
from tests.bench.media.publisher import FPS, KBPS
from tests.bench.runner import Report, median
from tests.support.h264_clip import make_clip
from tests.support.process import Child, free_port

RAMP_S = 6.0
"""Our encoder begins low and climbs for 4 s."""
STEADY_S = 2.0
"""A connection's first seconds cost more: its set-up, and code that runs for the first time."""
OFFICIAL = "official SDK's pipeline"
"""What metered_realtime builds for each viewer, without its signalling."""
NEAR = (1, 8, 1, 8, 1, 8)
"""What seven viewers add is a few ms/s of a hundred: windows that far apart in time differ by more."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """`rounds` of alternation; `window_s` of measurement; `most` viewers of each contender; the clip's size."""

    rounds: int = 5
    window_s: float = 4.0
    most: int = 16
    settle: bool = True
    width_px: int = 1280
    height_px: int = 720
    kbps: int = KBPS
    joins: int = 2
    delay_s: float = 6.0


QUICK = Sizes(
    rounds=1, window_s=0.5, most=2, settle=False, width_px=320, height_px=240, kbps=300, joins=1, delay_s=0.7
)  # fmt: skip


def write_clip(path: Path, sizes: Sizes) -> Path:
    """Three seconds with one keyframe, as an Annex B file."""
    size = (sizes.width_px, sizes.height_px)
    path.write_bytes(make_clip(*size, FPS, seconds=3, gop_s=3, kbps=sizes.kbps))
    return path


@asynccontextmanager
async def rtsp_server(clip: Path) -> AsyncIterator[str]:
    """The URL of a camera that plays the clip."""
    words = ("--clip", str(clip), "--port", str(free_port()))
    async with Child.module("tests.support.rtsp_server", *words) as child:
        yield (await child.line("ready ")).split()[1]


def fitted(contender: Contender, sizes: Sizes) -> Contender:
    """With no more viewers, and no longer a wait, than these sizes allow."""
    viewers = tuple(min(count, sizes.most) for count in contender.viewers)
    if sizes.settle:
        return replace(contender, viewers=viewers)
    once = tuple(count for count, _ in groupby(viewers))
    return replace(contender, viewers=once, settle_s=0.1, begin_s=0.0)


class Table:
    """The medians of one table, and their ratios."""

    def __init__(self, report: Report, results: Results, sizes: Sizes) -> None:
        self._report = report
        self._results = results
        self._sizes = sizes

    def cpu(self, name: str, viewers: int) -> float:
        """Median CPU in ms per second of media; saturated publishers pay for what they delivered only."""
        return median([w.per_media_s for w in self._windows(name, viewers)])

    def _windows(self, name: str, viewers: int) -> list[Measured]:
        return self._results.windows[name, min(viewers, self._sizes.most)]

    def added(self, name: str, least: int, most: int) -> float:
        """CPU of each viewer above `least`: the median of what each window and the one after it say."""
        least, most = min(least, self._sizes.most), min(most, self._sizes.most)
        turns = zip(self._windows(name, least), self._windows(name, most), strict=True)
        return median([(b.per_media_s - a.per_media_s) / max(1, most - least) for a, b in turns])

    def tell(self) -> None:
        """Every median, with what shows that it is one of a healthy stream."""
        for (name, viewers), windows in self._results.windows.items():
            fps, gaps = median([w.fps for w in windows]), sum(w.gaps for w in windows)
            each = ", ".join(f"{w.cpu_ms:.1f}" for w in windows)
            note = f"{fps:.1f} fps, {median([w.kbps for w in windows]):.0f} kbit/s, {gaps} gaps; {each}"
            self._report.add(f"{name}, {viewers} viewers", self.cpu(name, viewers), "ms/s", note)

    def ratio(self, name: str, value: float, other: float, at_most: float) -> None:
        self._report.judge(name, value / other if other > 0 else 0.0, "x", at_most=at_most)


async def encoded(report: Report, sizes: Sizes, clip: Path) -> None:
    """Software encoding beside the official SDK's pipeline (MediaRelay, an encoder per viewer)."""
    ours = fitted(Contender("ours, encoded", "encoded", (*NEAR, 2), settle_s=1.5, begin_s=RAMP_S), sizes)
    theirs = fitted(Contender(OFFICIAL, "official", (1, 2)), sizes)
    results = await alternate((ours, theirs), clip, "", sizes.rounds, sizes.window_s)
    table = Table(report, results, sizes)
    table.tell()
    one, two = table.cpu(theirs.name, 1), table.cpu(theirs.name, 2)
    table.ratio("encoded, 8 viewers / official (extrapolated)", table.cpu(ours.name, 8), one + 7 * (two - one), 0.1)
    table.ratio("encoded, 2 viewers / official", table.cpu(ours.name, 2), two, 1 / 3)
    table.ratio("encoded, each viewer more / the first", table.added(ours.name, 1, 8), table.cpu(ours.name, 1), 0.02)


async def handthrough(report: Report, sizes: Sizes, clip: Path) -> None:
    """Coded pictures handed through, beside Janus' streaming plugin and aiortc's own sender."""
    ours = fitted(Contender("ours, handed through", "coded", (1, 1, 2, 8, 16, 16), begin_s=STEADY_S), sizes)
    stock = fitted(Contender("aiortc's sender", "coded", (1, 8), stock_sender=True, begin_s=STEADY_S), sizes)
    other = fitted(Contender("Janus", "janus", (1, 1, 8, 16, 16), begin_s=STEADY_S), sizes)
    reason = janus.missing()
    contenders = (ours, stock) if reason else (ours, other, stock)
    table = Table(report, await alternate(contenders, clip, "", sizes.rounds, sizes.window_s), sizes)
    table.tell()
    report.add("ours, each viewer more", table.added(ours.name, 1, 16), "ms/s")
    report.add("aiortc's sender, each viewer more", table.added(stock.name, 1, 8), "ms/s")
    if reason:
        report.reasons.append(f"Janus: {reason}")
        return
    added = table.added(other.name, 1, 16)
    report.add("Janus, each viewer more", added, "ms/s")
    table.ratio("each viewer more / Janus (1 to 16)", table.added(ours.name, 1, 16), added, 0.65)
    table.ratio("16 viewers / Janus", table.cpu(ours.name, 16), table.cpu(other.name, 16), 0.75)
    table.ratio("1 viewer / Janus", table.cpu(ours.name, 1), table.cpu(other.name, 1), 1.1)


async def rtsp(report: Report, sizes: Sizes, clip: Path) -> None:
    """An RTSP camera handed through, beside the official SDK's pipeline and Janus fed with plain RTP."""
    ours = fitted(Contender("ours, RTSP", "rtsp", (1, 8)), sizes)
    theirs = fitted(Contender(f"{OFFICIAL}, RTSP", "official-rtsp", (1,)), sizes)
    other = fitted(Contender("Janus", "janus", (8,)), sizes)
    reason = janus.missing()
    contenders = (ours, theirs) if reason else (ours, theirs, other)
    async with rtsp_server(clip) as url:
        table = Table(report, await alternate(contenders, clip, url, sizes.rounds, sizes.window_s), sizes)
    table.tell()
    table.ratio("RTSP, 1 viewer / official", table.cpu(ours.name, 1), table.cpu(theirs.name, 1), 1 / 15)
    if reason:
        report.reasons.append(f"Janus: {reason}")
    else:
        table.ratio("RTSP, 8 viewers / Janus", table.cpu(ours.name, 8), table.cpu(other.name, 8), 1.0)


async def memory(report: Report, sizes: Sizes, clip: Path) -> None:
    """Resident memory that each viewer adds to the publisher."""
    ours = fitted(Contender("ours, handed through", "coded", (1, 8)), sizes)
    encoding = fitted(Contender("ours, encoded", "encoded", (1, 8), begin_s=RAMP_S), sizes)
    theirs = fitted(Contender(OFFICIAL, "official", (1, 2)), sizes)
    results = await alternate((ours, encoding, theirs), clip, "", sizes.rounds, min(sizes.window_s, 2.0))
    for contender, at_most in ((ours, 1.0), (encoding, 1.0), (theirs, None)):
        least, most = contender.viewers[0], contender.viewers[-1]
        pairs = zip(results.windows[contender.name, least], results.windows[contender.name, most], strict=True)
        grown = [(b.rss_mb - a.rss_mb) / max(1, most - least) for a, b in pairs]
        each = "each: " + " ".join(f"{value:.2f}" for value in grown)
        report.judge(f"memory, each viewer more, {contender.name}", median(grown), "MB", each, at_most=at_most)
