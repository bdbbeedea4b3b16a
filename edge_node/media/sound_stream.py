"""The thread's side of an open sound card: blocks at 48 kHz, whatever the card's own rate."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import zip_longest

import numpy as np

from edge_node.dsp.blocks import Blocks
from edge_node.dsp.latency import LatencySteps
from edge_node.dsp.pcm import Pcm, Resampler, silence
from edge_node.media.sound_thread import in_thread
from edge_node.media.soundcard import LATENCY_S, WORKER, Direction, Opened, Record, SoundDevice
from edge_node.ports import BLOCK_FRAMES, SAMPLE_RATE

log = logging.getLogger(__name__)

Heard = Callable[[Pcm | None, Pcm | None], None]
"""heard(captured, played): both of BLOCK_FRAMES, None for the direction that the stream does not have."""
Pull = Callable[[int], Pcm]
DEVICE_STEPS_S = (LATENCY_S, 0.03, 0.06, 0.1, 0.16)
"""Latencies asked of the card; the next larger one after more than two xruns within ten seconds."""
DEVICE_CALM_S = 300.0
"""So long without an xrun makes the next smaller one worth a try; twice as long after each step up."""
HUSH_RECORDS = 500
"""Less is tried only when nothing was played for 5 s: nobody is listening, most likely."""
START_RECORDS = 30
"""A card asks for its whole buffer at once when it starts: being late for that is no fault."""
LEAD_STEPS = (1, 2, 3, 4, 6, 8)
"""Blocks handed to the card's process ahead of time; it grows when this process is late too often."""


class OtherBuffer(Exception):
    """The card gets another latency: open it again."""


class Health:
    """What a card has suffered so far, over all its streams; written by the stream's thread, read by anyone."""

    def __init__(self) -> None:
        self.xruns = 0
        """How often the card lost sound or had none to play."""
        self.late = 0
        """Blocks of silence played because this process was late."""
        self.opened: Opened | None = None
        """None while the card is closed."""
        self.latency = LatencySteps(DEVICE_STEPS_S, calm_s=DEVICE_CALM_S)
        self.lead = LatencySteps(LEAD_STEPS)

    @property
    def input_ms(self) -> float | None:
        """Delay of the card's buffers before a captured block."""
        return None if self.opened is None else self.opened.input_ms

    @property
    def output_ms(self) -> float | None:
        """Delay from pull() until the block is heard: what waits in the card's process, and the card's buffers."""
        return None if self.opened is None else self.opened.output_ms + self.lead.value * 10.0


class SoundStream:
    """One stream of a card, opened again with another buffer whenever it needs a larger one, or may have a smaller."""

    def __init__(
        self, direction: Direction, *names: str, health: Health | None = None, worker: Sequence[str] = WORKER
    ) -> None:
        self._direction: Direction = direction
        self._names = names
        self._worker = worker
        self.health = health if health is not None else Health()
        self._work: _Work | None = None

    async def run(
        self, heard: Heard, pull: Pull = silence, opened: Callable[[Opened], None] = lambda opened: None
    ) -> None:
        """Calls pull(BLOCK_FRAMES) for what to play next, and heard() with each pair of blocks of one callback.

        All from one thread, opened() each time before the first block; they must not wait. Runs until cancelled.
        Raises DeviceLost or DeviceMissing.
        """
        while True:
            device = SoundDevice(
                self._direction, *self._names, worker=self._worker, latency_s=self.health.latency.value
            )
            work = _Work(device, self._direction, self.health, heard, pull, opened)
            self._work = work
            try:
                await in_thread(NAMES[self._direction], work.run, device.kill)
            except OtherBuffer as err:
                log.warning("%s: its buffer is %.0f ms from now on", err, self.health.latency.value * 1000.0)
            finally:
                self._work = None
                self.health.opened = None
                device.close()

    def flush(self) -> None:
        """What was pulled and is not in the card's own buffers yet is not played; on the event loop."""
        if self._work is not None:
            self._work.flush()


NAMES: dict[Direction, str] = {"input": "microphone", "output": "speaker", "duplex": "sound card"}
"""Of the threads."""


class _Work:
    """What the stream's thread does while one device is open."""

    def __init__(
        self,
        device: SoundDevice,
        direction: Direction,
        health: Health,
        heard: Heard,
        pull: Pull,
        on_open: Callable[[Opened], None],
    ) -> None:
        self._device = device
        self._plays = direction != "input"
        self._captures = direction != "output"
        self._health = health
        self._heard = heard
        self._pull = pull
        self._on_open = on_open
        self._sent: deque[Pcm] = deque()
        """Blocks under way to the card, at its rate; never more than the largest lead."""
        self._sending = threading.Lock()
        """Of whoever changes what is under way."""
        self._count = 0
        """Blocks played, modulo 65536."""
        self._was_late = False
        self._starting = START_RECORDS
        self._hushed = 0
        """Records in a row in which nothing was played."""

    def run(self, stop: threading.Event) -> None:
        opened = self._device.open()
        self._opened = opened
        self._on_open(opened)
        self._begin()
        self._health.opened = opened
        # Both directions take the same way back to 48 kHz, so that pairs stay pairs.
        self._back = [_Back(opened.rate) for _ in range(2)]
        if self._plays:
            self._fill()
        while not stop.is_set():
            self._step(self._device.read())

    def _begin(self) -> None:
        self._out = Resampler(SAMPLE_RATE, self._opened.rate)
        self._ready: deque[Pcm] = deque()
        self._cut = Blocks(self._opened.block_frames)

    def flush(self) -> None:
        """Puts silence in the place of what is under way; from any thread."""
        with self._sending:
            if self._health.opened is None or not self._plays:
                return
            nothing = silence(self._opened.block_frames)
            for taken in self._device.withdraw(nothing.nbytes):
                # Its process may have fetched one between: what is left in _sent has to be what it plays.
                at = next((at for at, block in enumerate(self._sent) if block.tobytes() == taken), 0)
                del self._sent[at]
                self._send(nothing)
            self._begin()

    def _step(self, record: Record) -> None:
        now = time.monotonic()
        self._hushed += 1
        for captured, played in self._pairs(record):
            self._heard(captured, played)
            if played is not None and played.any():
                self._hushed = 0
        if self._plays:
            self._fill()
        self._health.xruns += record.xrun
        self._health.late += record.late and not self._starting
        if self._starting:
            self._starting -= 1
        else:
            self._judge_lead(record.late, now)
            self._judge_latency(record.xrun, now)

    def _played(self, record: Record) -> Pcm:
        """What the card played in this callback, at its rate."""
        block = silence(self._opened.block_frames)
        with self._sending:
            while self._count != record.count and self._sent:
                self._count = (self._count + 1) & 0xFFFF
                last = self._sent.popleft()
                block = block if record.late else last
        return block

    def _pairs(self, record: Record) -> list[tuple[Pcm | None, Pcm | None]]:
        """Blocks of BLOCK_FRAMES; None for the way that the stream does not have."""
        captured = self._back[0](np.frombuffer(record.captured, np.int16)) if self._captures else []
        played = self._back[1](self._played(record)) if self._plays else []
        return list(zip_longest(captured, played))

    def _judge_lead(self, late: bool, now: float) -> None:
        begins, self._was_late = late and not self._was_late, late
        if not late and self._hushed >= HUSH_RECORDS:
            self._health.lead.calm(now)
        if begins and self._health.lead.fault(now):
            log.info("sound comes late: %.0f blocks are kept ready from now on", self._health.lead.value)

    def _judge_latency(self, xrun: bool, now: float) -> None:
        latency = self._health.latency
        if xrun and latency.fault(now):
            raise OtherBuffer(f"the sound card loses sound ({self._health.xruns} times by now)")
        if self._hushed >= HUSH_RECORDS and latency.calm(now):
            raise OtherBuffer("the sound card has been well for long")

    def _fill(self) -> None:
        with self._sending:
            while len(self._sent) < self._health.lead.value:
                while not self._ready:
                    self._ready.extend(self._cut.push(self._out.push(self._pull(BLOCK_FRAMES))))
                self._send(self._ready.popleft())

    def _send(self, block: Pcm) -> None:
        self._device.write(block.tobytes())
        self._sent.append(block)


class _Back:
    """One way from the card's rate to blocks at 48 kHz."""

    def __init__(self, rate: int) -> None:
        self._resampler = Resampler(rate, SAMPLE_RATE)
        self._blocks = Blocks(BLOCK_FRAMES)

    def __call__(self, pcm: Pcm) -> list[Pcm]:
        return self._blocks.push(self._resampler.push(pcm))
