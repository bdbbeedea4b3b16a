"""`python -m tests.bench.audio.stalling`: one end of a call; the bench freezes the other one again and again."""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import edge_node
from edge_node.aio.clock import SystemClock
from edge_node.media.audio_publication import AudioPublication
from edge_node.media.microphone import ToneMicrophone
from edge_node.media.playback import Playback
from edge_node.media.speaker import NullSpeaker
from tests.bench.audio.rig import say
from tests.bench.runner import Report
from tests.support.hub_client import running_hub
from tests.support.process import Child, rss_mb

KEY = "pk_dev_test"
CHANNEL = "bench/stalling"
TELL_S = 0.25
UP_S = 30.0
STALLS_S = (0.1, 5.0)
BETWEEN_S = (3.0, 8.0)
BACK_S = 1.5
"""After a stall the other end is heard again within this."""
MAX_HELD_MS = 240.0
"""The largest target of the playout, and 40 ms."""
LOUD_DBFS = -35.0
"""The tone has -23 dBFS."""
WARM_UP = 0.2
"""Share of the call after which memory is compared."""


async def end_of_call(url: str, key: str) -> None:
    """Sends a tone to the other end and plays what comes back to nobody, until standard input ends."""
    clock = SystemClock()
    publication, playback, speaker = AudioPublication(clock), Playback(clock), NullSpeaker()
    peer = edge_node.MeteredPeer(api_key=key, url=url)
    peer.add_track(publication.track, edge_node.MediaStream(id="end"))
    peer.on(
        edge_node.PeerJoined,
        lambda e: e.peer.on(edge_node.Track, lambda t: playback.add(f"other-{id(t.track)}", t.track)),
    )

    async def tell() -> None:
        while True:
            await asyncio.sleep(TELL_S)
            stats = [stats for _, stats in playback.stats()]
            say(
                "heard",
                at=time.monotonic(),
                dbfs=speaker.level_dbfs,
                held_ms=playback.playout_ms,
                tracks=len(stats),
                dropped=publication.stats().dropped,
                tasks=len(asyncio.all_tasks()),
            )

    jobs = (publication.run(), ToneMicrophone().run(publication.block), speaker.run(playback.pull), tell())
    tasks = [asyncio.ensure_future(job) for job in jobs]
    await peer.join(CHANNEL)
    await asyncio.to_thread(sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await peer.close()
    await playback.close()
    publication.close()


@dataclass(slots=True)
class Seen:
    """What the bench saw of one end over the call."""

    dead_s: float = 0.0
    """While both ends ran and had done so for BACK_S."""
    late_s: float = 0.0
    """The longest time in a row with more than MAX_HELD_MS held."""
    first: dict[str, float] = field(default_factory=dict)
    last: dict[str, float] = field(default_factory=dict)


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """Stops a process for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def stalling_call(report: Report, minutes: float) -> None:
    """A call of so many minutes; one end is frozen for up to 5 s again and again."""
    async with running_hub() as hub:
        words = ("--url", hub.url, "--key", KEY)
        this = "tests.bench.audio.stalling"
        async with Child.module(this, *words) as steady, Child.module(this, *words) as frail:
            for end in (steady, frail):
                await end.event(lambda e: e["event"] == "heard" and e["dbfs"] > LOUD_DBFS, timeout_s=UP_S)
            seen = {"steady": Seen(), "frozen": Seen()}
            stalls = await _run(minutes * 60, {"steady": steady, "frozen": frail}, seen)
    for name, end_seen in seen.items():
        note = f"of {minutes:g} min with {stalls} stalls of {STALLS_S[0]:g} to {STALLS_S[1]:g} s; 1.5 s after each"
        report.judge(f"{name} end: dead sound", end_seen.dead_s, "s", note, at_most=0.0)
        report.judge(f"{name} end: longest with more than 240 ms held", end_seen.late_s, "s", at_most=2.0)
        first, last = end_seen.first, end_seen.last
        grown = last["rss_mb"] - first["rss_mb"]
        note = f"{first['rss_mb']:.1f} to {last['rss_mb']:.1f} MB; tasks {first['tasks']:.0f} to {last['tasks']:.0f}"
        report.judge(f"{name} end: memory grown", grown, "MB", note, at_most=5.0)


async def _run(seconds: float, ends: dict[str, Child], seen: dict[str, Seen]) -> int:
    dice = random.Random(1)
    began, stalls = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        with frozen(ends["frozen"].pid):
            await asyncio.sleep(dice.uniform(*STALLS_S))
        stalls += 1
        back = time.monotonic()
        await asyncio.sleep(dice.uniform(*BETWEEN_S))
        for name, end in ends.items():
            found = seen[name]
            _judge(found, [e for e in end.events if e["event"] == "heard" and e["at"] > back], back)
            found.last = {"rss_mb": rss_mb(end.pid), "tasks": end.events[-1]["tasks"]}
            if not found.first and passed >= WARM_UP * seconds:
                found.first = found.last
            del end.events[:-1]
    for found in seen.values():
        found.first = found.first or found.last
    return stalls


def _judge(seen: Seen, events: list[dict[str, Any]], back: float) -> None:
    """All that one end told since the other one was let go at `back`."""
    settled = [e for e in events if e["at"] > back + BACK_S]
    seen.dead_s += TELL_S * sum(e["dbfs"] < LOUD_DBFS for e in settled)
    run = 0
    for event in events:
        run = run + 1 if (event["held_ms"] or 0.0) > MAX_HELD_MS else 0
        seen.late_s = max(seen.late_s, TELL_S * run)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True)
    args = parser.parse_args()
    asyncio.run(end_of_call(args.url, args.key))
    return 0


if __name__ == "__main__":
    sys.exit(main())
