"""A call with somebody whose program or network stalls again and again: nothing grows, no sound stays dead or late.

`EDGE_NODE_CALL_MINUTES=30` makes it half an hour; `edge-node bench audio --only stalling --minutes 30` is the same
with two processes in real time.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import deque
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np

from edge_node.dsp.delay_target import MAX_MS
from edge_node.dsp.level import peak
from edge_node.dsp.tone import Tone
from edge_node.media.audio_publication import MAX_WAITING, AudioPublication
from edge_node.media.playback import Playback
from edge_node.ports import BLOCK_FRAMES
from tests.support.process import rss_mb
from tests.support.virtual_time import VirtualTimeLoop, in_virtual_time

MINUTES = float(os.environ.get("EDGE_NODE_CALL_MINUTES", "0.5"))
PACKET = 2 * BLOCK_FRAMES
BACK_S = 2.0
"""After a stall the sound is there again, and as late as it should be."""


class LoopClock:
    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        return self.monotonic()


@dataclass
class Stalling:
    """The far end: 20 ms packets in real time, but for stalls, after which they come at once, late ones or none."""

    dice: random.Random
    waiting: asyncio.Queue[av.AudioFrame] = field(default_factory=asyncio.Queue)
    stalled_until_s: float = 0.0
    since_s: float = 0.0
    stalls: int = 0
    _held: deque[av.AudioFrame] = field(default_factory=deque)
    _keeps: bool = True

    async def recv(self) -> av.AudioFrame:
        return await self.waiting.get()

    def send(self, number: int, now: float, sound: av.AudioFrame) -> None:
        if now >= self.since_s + self.dice.uniform(5.0, 15.0):
            self.stalls += 1
            self.stalled_until_s = self.since_s = now + self.dice.choice((0.05, 0.3, 1.0, 4.0))
            self._keeps = self.dice.random() < 0.5
        if now < self.stalled_until_s:
            if self._keeps:
                self._held.append(sound)
            return
        while self._held:
            self.waiting.put_nowait(self._held.popleft())
        self.waiting.put_nowait(sound)


def frame(number: int, pcm: np.ndarray[tuple[int], np.dtype[np.int16]]) -> av.AudioFrame:
    made = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    made.sample_rate, made.pts, made.time_base = 48_000, number * PACKET, Fraction(1, 48_000)
    return made


@in_virtual_time
async def test_a_stalling_peer_leaves_nothing_dead_late_or_grown() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    clock, far = LoopClock(), Stalling(random.Random(1))
    playback, publication = Playback(clock), AudioPublication(clock)
    playback.add("far", far)
    view = publication.track.subscribe()
    tone, said = Tone(300, 0.3).block(PACKET), Tone(500, 0.1).block(BLOCK_FRAMES)
    sent: list[int] = []
    dead: list[float] = []
    late: list[float] = []
    sizes: list[float] = []

    async def fetch() -> None:
        """The viewer is the same stalling peer."""
        while True:
            packet = await view.recv()
            assert packet.pts is not None
            sent.append(packet.pts)
            del sent[:-1]
            if loop.time() < far.stalled_until_s:
                await asyncio.sleep(far.stalled_until_s - loop.time())

    tasks = [asyncio.ensure_future(job) for job in (publication.run(), fetch())]
    steps = int(MINUTES * 6000)
    for step in range(steps):
        now = loop.time()
        if step % 2 == 0:
            far.send(step // 2, now, frame(step // 2, tone))
        publication.block(said)
        loud = peak(playback.pull(BLOCK_FRAMES)) > 0.05
        if now > max(far.stalled_until_s, 0.0) + BACK_S:
            dead += [] if loud else [now]
            held = playback.playout_ms or 0.0
            late += [now] if held > MAX_MS + 40 else []
        if step in (steps // 5, steps - 1):
            sizes.append(rss_mb(os.getpid()))
        await asyncio.sleep(0.01)
    (stats,) = (stats for _, stats in playback.stats())
    assert far.stalls >= 2 * MINUTES
    assert dead == [], "the far end is heard whenever it talks"
    assert late == [], "and never late for long"
    assert stats.received > 3000 * MINUTES * 0.6
    assert far.waiting.qsize() <= 1
    assert sizes[1] - sizes[0] < 20.0, "nothing grows"
    assert publication.stats().dropped <= MAX_WAITING
    assert loop.time() * 48_000 - sent[-1] < 48_000, "what is said here is fetched live"
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await playback.close()
    publication.close()
