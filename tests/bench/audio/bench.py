"""The parts of the bench of sound."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from aiortc.codecs.opus import OpusDecoder
from aiortc.jitterbuffer import JitterFrame

from edge_node.dsp.mixer import MAX_SOURCES
from edge_node.dsp.pcm import Pcm
from edge_node.dsp.tone import Tone
from edge_node.media.opus_encoder import PACKET_FRAMES, OpusEncoder
from edge_node.media.playback import Playback
from edge_node.ports import BLOCK_FRAMES, SAMPLE_RATE
from tests.bench.audio.stalling import stalling_call
from tests.bench.runner import Report, cpu_s, median
from tests.support.clock import ManualClock
from tests.support.hub_client import running_hub
from tests.support.link import running_link
from tests.support.process import Child
from tests.support.pulse import PulseLab, why_not

KEY = "pk_dev_test"
UP_S = 30.0
METER_TRIES = 3
BLOCK_MS = 1000.0 * BLOCK_FRAMES / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Sizes:
    """How long and how many: `measure_s` per measurement, `loss_s` of `loss_percent`, `cpu_s` of counting.

    `minutes` is the call with a stalling peer, `rounds` how often each publisher has its turn. `card_ms` is asked of
    the sound card; 0 leaves it to the product.
    Without `stock` the official SDK is left out.
    """

    measure_s: float = 10.0
    settle_s: float = 3.0
    loss_s: float = 10.0
    loss_percent: float = 5.0
    listeners: int = 8
    cpu_s: float = 10.0
    mixed_s: float = 30.0
    rounds: int = 3
    minutes: float = 1.0
    card_ms: float = 0.0
    stock: bool = True


QUICK = Sizes(
    measure_s=1.0, settle_s=0.2, loss_s=0.2, listeners=2, cpu_s=0.2, mixed_s=0.5, rounds=1, minutes=0.02, stock=False
)
MAX_DELAY_MS = 100.0
MAX_GROWN_MS = 20.0
"""By loss that has stopped."""
MAX_TALKER_MS = 15.0
"""CPU per second of sound."""
MAX_SHARE = 0.2
"""Of what the official SDK takes for a listener."""


@contextmanager
def _lab() -> Iterator[PulseLab]:
    with tempfile.TemporaryDirectory(prefix="pa-") as folder:
        lab = PulseLab(Path(folder))
        lab.start()
        try:
            yield lab
        finally:
            lab.stop()


async def delay(report: Report, sizes: Sizes) -> None:
    """Microphone device → WebRTC → speaker device, before a spell of loss and after it."""
    if (reason := why_not()) is not None:
        report.reasons.append(f"delay: {reason}")
        return
    with _lab() as lab:
        card_ms = await _card_alone(report, sizes, lab)
        for sdk in _sdks(sizes):
            await _delay_of(report, sizes, lab, sdk, card_ms)


def _sdks(sizes: Sizes) -> tuple[str, ...]:
    return ("ours", "official") if sizes.stock else ("ours",)


async def _card_alone(report: Report, sizes: Sizes, lab: PulseLab) -> float | None:
    """What the sound card takes of the delay, both ways: nothing but the card between microphone and speaker."""
    words = ("--sdk", "none", "--card-ms", str(sizes.card_ms))
    async with Child.module("tests.bench.audio.rig", *words, env=lab.env) as rig:
        await rig.event(lambda e: e["event"] == "track", timeout_s=UP_S)
        await asyncio.sleep(sizes.settle_s)
        path = await _heard(lab, "mic", sizes.measure_s)
        found = await _heard(lab, "tapout", sizes.measure_s)
        stats = _inside(rig)
    if not path or not found:
        report.reasons.append(f"delay: the measuring path or the card alone was not heard; {_shown(stats)}")
        return None
    card_ms = median(found) - median(path)
    report.add("card alone", card_ms, "ms", f"microphone straight to speaker; {_shown(stats)}")
    return card_ms


async def _delay_of(report: Report, sizes: Sizes, lab: PulseLab, sdk: str, card_ms: float | None) -> None:
    async with running_hub() as hub, running_link(hub) as link:
        words = ("--sdk", sdk, "--url", link.url, "--key", KEY, "--card-ms", str(sizes.card_ms))
        async with Child.module("tests.bench.audio.rig", *words, env=lab.env) as rig:
            await rig.event(lambda e: e["event"] == "track", timeout_s=UP_S)
            await asyncio.sleep(sizes.settle_s)
            # The meter's own way into the microphone's device and out of it, while the product uses that device, too.
            path = await _heard(lab, "mic", sizes.measure_s)
            cpu, began = cpu_s(rig.pid), time.monotonic()
            before = await _heard(lab, "tapout", sizes.measure_s)
            inside = [_inside(rig)]
            percent = 100 * (cpu_s(rig.pid) - cpu) / (time.monotonic() - began)
            link.set(loss_percent=sizes.loss_percent)
            await asyncio.sleep(sizes.loss_s)
            link.set(loss_percent=0.0)
            await asyncio.sleep(sizes.settle_s)
            after = await _heard(lab, "tapout", sizes.measure_s)
            inside.append(_inside(rig))
    if not path:
        report.reasons.append(f"{sdk}: delay: the measuring path itself heard nothing")
        return
    path_ms = median(path)
    report.add(f"{sdk}: measuring path", path_ms, "ms", "into the device and out of it; taken off the delays")
    chirps = int(sizes.measure_s)
    at_most = MAX_DELAY_MS if sdk == "ours" else None
    for name, found, stats in (("delay", before, inside[0]), ("delay after loss", after, inside[1])):
        if found:
            net_ms = median(found) - path_ms
            note = (
                f"median of {len(found)}/{chirps} chirps; {min(found) - path_ms:.0f} to {max(found) - path_ms:.0f} ms"
            )
            note += f"; {_shown(stats)}{_parts(sdk, net_ms, card_ms, stats)}"
            report.judge(f"{sdk}: {name}", net_ms, "ms", note, at_most=at_most)
            at_most = at_most and round(net_ms + MAX_GROWN_MS, 1)
        else:
            report.reasons.append(f"{sdk}: {name}: no chirp was heard; {_shown(stats)}")
    report.add(f"{sdk}: both ends", percent, "% of a CPU", "microphone, talker, listener, speaker")


def _inside(rig: Child) -> dict[str, Any]:
    """What the rig said of itself last."""
    return next((e for e in reversed(rig.events) if e["event"] == "stats"), {})


def _shown(stats: dict[str, Any]) -> str:
    card = stats.get("card_ms") or (None, None)
    shown = f"card says {_ms(card[0])} in, {_ms(card[1])} out, {stats.get('xruns')} xruns"
    if "held_ms" in stats:
        shown += f"; held {_ms(stats['held_ms'])}, target {_ms(stats['target_ms'])}"
    return shown


def _parts(sdk: str, net_ms: float, card_ms: float | None, stats: dict[str, Any]) -> str:
    """Where the delay comes from: what is held when the speaker asks is one block less when it got it."""
    held_ms = stats.get("held_ms")
    if sdk != "ours" or card_ms is None or held_ms is None:
        return ""
    parts = {"card": card_ms, "framing": 1000.0 * PACKET_FRAMES / SAMPLE_RATE, "playout": held_ms - BLOCK_MS}
    told = " + ".join(f"{name} {ms:.0f}" for name, ms in parts.items())
    return f" = {told} + rest {net_ms - sum(parts.values()):.0f} ms"


def _ms(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f} ms"


async def _heard(lab: PulseLab, source: str, seconds: float) -> list[float]:
    """Delays of chirps; measured again when the meter itself was held up for most of them."""
    found: list[float] = []
    for _ in range(METER_TRIES):
        found = max(found, await _once_heard(lab, source, seconds), key=len)
        if 2 * len(found) >= int(seconds):
            break
    return found


async def _once_heard(lab: PulseLab, source: str, seconds: float) -> list[float]:
    words = ("--input", source, "--seconds", str(seconds))
    async with Child.module("tests.bench.audio.meter", *words, env=lab.env) as meter:
        found: dict[str, Any] = await meter.event(lambda e: e["event"] == "delays", timeout_s=seconds + UP_S)
    return list(found["ms"])


class _Talker:
    """Coded packets, and aiortc's decoder for them."""

    def __init__(self, number: int, packets: int) -> None:
        tone, encoder = Tone(150 + 40 * number, 0.3), OpusEncoder()
        self.packets = [bytes(encoder.encode(tone.block(PACKET_FRAMES), 0)) for _ in range(packets)]
        self._decoder = OpusDecoder()
        self._queue: asyncio.Queue[av.AudioFrame] = asyncio.Queue()

    def decode(self, number: int) -> None:
        frame = JitterFrame(data=self.packets[number], timestamp=number * PACKET_FRAMES)
        for decoded in self._decoder.decode(frame):
            assert isinstance(decoded, av.AudioFrame)
            decoded.pts, decoded.time_base = number * PACKET_FRAMES, Fraction(1, SAMPLE_RATE)
            self._queue.put_nowait(decoded)

    async def recv(self) -> av.AudioFrame:
        return await self._queue.get()


async def mixed(report: Report, sizes: Sizes) -> None:
    """Remote talkers decoded, played out and mixed as fast as this machine can: CPU per second of sound."""
    costs = {}
    packets = int(sizes.mixed_s * SAMPLE_RATE / PACKET_FRAMES)
    for count in (1, MAX_SOURCES):
        talkers = [_Talker(number, packets) for number in range(count)]
        clock = ManualClock()
        playback = Playback(clock)
        for number, talker in enumerate(talkers):
            playback.add(f"talker-{number}", talker)
        loudest = 0
        began = time.process_time()
        for number in range(packets):
            for talker in talkers:
                talker.decode(number)
            await asyncio.sleep(0)
            for _ in range(2):
                loudest = max(loudest, _peak(playback.pull(BLOCK_FRAMES)))
                clock.advance(BLOCK_FRAMES / SAMPLE_RATE)
        costs[count] = 1000 * (time.process_time() - began) / sizes.mixed_s
        gaps = sum(stats.gaps for _, stats in playback.stats())
        await playback.close()
        report.add(f"{count} mixed", costs[count], "ms/s", f"decoding, playout, mixing; {gaps} gaps, peak {loudest}")
    each = costs[MAX_SOURCES] / MAX_SOURCES
    report.judge("per talker", each, "ms/s", "of one CPU; the network is not in it", at_most=MAX_TALKER_MS)


async def connected(report: Report, sizes: Sizes) -> None:
    """Remote talkers over connections of their own: receiving, SRTP, depacketising, decoding, playout, mixing."""
    async with running_hub() as hub:
        where = ("--url", hub.url, "--key", KEY, "--count", str(MAX_SOURCES))
        async with Child.module("tests.bench.audio.publish", "hear", *where) as hearer:
            await hearer.event(lambda e: e["event"] == "ready", timeout_s=UP_S)
            alone = await _cpu_share(hearer.pid, sizes.cpu_s)
            async with Child.module("tests.bench.audio.publish", "talk", *where):
                for seen in range(MAX_SOURCES):
                    await hearer.event(lambda e: e["event"] == "heard", timeout_s=UP_S, since=seen)
                await asyncio.sleep(sizes.settle_s)
                crowded = await _cpu_share(hearer.pid, sizes.cpu_s)
    note = f"{alone:.1f} ms/s alone, {crowded:.1f} with {MAX_SOURCES} talkers; the whole process, network included"
    report.judge("per connected talker", (crowded - alone) / MAX_SOURCES, "ms/s", note, at_most=MAX_TALKER_MS)


def _peak(block: Pcm) -> int:
    return int(np.max(np.abs(block.astype(np.int32))))


async def published(report: Report, sizes: Sizes) -> None:
    """One microphone, many listeners: CPU of the publishing process for each of them, in turns."""
    found: dict[str, list[tuple[float, float]]] = {sdk: [] for sdk in _sdks(sizes)}
    for _ in range(sizes.rounds):
        for sdk, rounds in found.items():
            rounds.append(await _published(sizes, sdk))
    costs = {}
    for sdk, rounds in found.items():
        each = [(crowded - alone) / sizes.listeners for alone, crowded in rounds]
        costs[sdk] = median(each)
        alone, crowded = (median(values) for values in zip(*rounds, strict=True))
        note = f"{alone:.1f} ms/s alone, {crowded:.1f} with {sizes.listeners} listeners"
        report.add(f"{sdk}: per listener", costs[sdk], "ms/s", f"{note}; {min(each):.2f} to {max(each):.2f}")
    if costs.get("official", 0) > 0:
        note = f"per listener, medians of {sizes.rounds} rounds"
        report.judge("ours of the official SDK", costs["ours"] / costs["official"], "", note, at_most=MAX_SHARE)


async def _published(sizes: Sizes, sdk: str) -> tuple[float, float]:
    """CPU of a publisher alone, with its listeners, in ms per second."""
    async with running_hub() as hub:
        where = ("--url", hub.url, "--key", KEY)
        async with Child.module("tests.bench.audio.publish", "publish", "--sdk", sdk, *where) as publisher:
            await publisher.event(lambda e: e["event"] == "ready", timeout_s=UP_S)
            alone = await _cpu_share(publisher.pid, sizes.cpu_s)
            words = ("listen", "--count", str(sizes.listeners), *where)
            async with Child.module("tests.bench.audio.publish", *words) as listeners:
                for seen in range(sizes.listeners):
                    await listeners.event(lambda e: e["event"] == "heard", timeout_s=UP_S, since=seen)
                await asyncio.sleep(sizes.settle_s)
                return alone, await _cpu_share(publisher.pid, sizes.cpu_s)


async def stalling(report: Report, sizes: Sizes) -> None:
    """A call whose other end is frozen again and again."""
    await stalling_call(report, sizes.minutes)


async def _cpu_share(pid: int, seconds: float) -> float:
    """Milliseconds of CPU per second."""
    before, began = cpu_s(pid), time.monotonic()
    await asyncio.sleep(seconds)
    return 1000 * (cpu_s(pid) - before) / (time.monotonic() - began)
