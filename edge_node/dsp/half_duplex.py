"""One direction at a time: whoever is played silences the microphone, until somebody there speaks up."""

from __future__ import annotations

from collections import deque

import numpy as np

from edge_node.dsp.level import mean_square
from edge_node.dsp.pcm import RATE, Pcm, saturate

ACTIVE = 1e-6
"""Mean square from which on something is played (-60 dBFS)."""
CLOSED_GAIN = 0.001
"""60 dB down."""
TAIL_MS = 130.0
"""How long a room rings on; with the ramp, the microphone is open again within 150 ms of the echo's end."""
RAMP_FRAMES = RATE // 200
"""5 ms: too short to be missed, too long to click."""


class HalfDuplex:
    """Turns the microphone down while anything is played, and until its echo has died away.

    Whoever talks clearly louder than the echo ever was breaks in.
    """

    def __init__(self, tail_ms: float = TAIL_MS) -> None:
        self._tail_ms = tail_ms
        self._held_ms = 0.0
        self._gain = 1.0
        self._break_in = BreakIn()

    @property
    def closed(self) -> bool:
        """Whether the microphone is turned down."""
        return self._held_ms > 0.0 and not self._break_in.open

    @property
    def broken_in(self) -> bool:
        """Whether the microphone is open although something is played."""
        return self._break_in.open

    def process(self, captured: Pcm, played: Pcm, delay_ms: float, raw: Pcm | None = None) -> Pcm:
        """What may be sent of `captured`, recorded while `played` was played; its echo comes delay_ms later.

        `raw` is what was recorded, where a canceller has worked on `captured`: the echo in it is always the same.
        """
        block_ms = len(captured) * 1000.0 / RATE
        power = mean_square(played)
        if power > ACTIVE:
            self._held_ms = delay_ms + self._tail_ms
        else:
            self._held_ms = max(0.0, self._held_ms - block_ms)
        if self._held_ms > 0.0:
            self._break_in.feed(
                mean_square(captured if raw is None else raw), power, delay_ms + self._tail_ms, block_ms
            )
        else:
            self._break_in.rest(block_ms)
        target = CLOSED_GAIN if self.closed else 1.0
        if target == self._gain == 1.0:
            return captured
        gains = np.full(len(captured), target, np.float32)
        if target != self._gain:
            ramp = min(RAMP_FRAMES, len(captured))
            gains[:ramp] = np.linspace(self._gain, target, ramp, dtype=np.float32)
            self._gain = target
        return saturate(captured * gains)


LEARNT_MS = 1000.0
"""So much echo has to be heard before anybody may break in."""
HEARD = 1e-4
"""-40 dBFS: what is played more softly tells too little of its echo."""
SMOOTH_MS = 80.0
"""A syllable counts, not a block: the echo's peaks are far above its mean."""
LOUDER = 4.0
"""6 dB over the loudest echo that what was played may leave."""
PAUSE = 10.0
"""A block 10 dB below that is no voice any more: a bang rings on in the smoothed power only."""
FOR_MS = 200.0
OPEN_MS = 400.0
"""From one word to the next."""
RISES_PER_MS = 7e-4
"""3 dB a second: a voice that begins must not pass for its own echo."""
FORGETS_PER_MS = 1e-4
"""The loudest echo counts for half after 7 s of a softer one."""
TOO_LONG_MS = 4000.0
"""Nobody talks so long without a pause: it is the echo that is louder than it was."""
WINDOW_BLOCKS = 128


class BreakIn:
    """Tells a voice at the microphone from the echo by its power alone."""

    def __init__(self) -> None:
        self._played: deque[float] = deque(maxlen=WINDOW_BLOCKS)
        """Smoothed powers, as is `_heard`."""
        self._playing = self._heard = 0.0
        self._ratio = 0.0
        """Of the echo's power to the loudest that was played in its time: the largest seen, slowly forgotten."""
        self._learnt_ms = 0.0
        self._loud_ms = 0.0
        """More by each louder block, less by each other one."""
        self._open_ms = 0.0
        self._since_ms = 0.0

    @property
    def open(self) -> bool:
        """Whether somebody has broken in."""
        return self._open_ms > 0.0

    def rest(self, block_ms: float) -> None:
        """Nothing is held: whoever talks need not break in."""
        self._smooth(0.0, 0.0, block_ms)
        self._loud_ms = self._open_ms = self._since_ms = 0.0

    def feed(self, captured: float, played: float, within_ms: float, block_ms: float) -> None:
        """Powers of a block recorded and of one played, whose echo may come at any time `within_ms`."""
        self._smooth(captured, played, block_ms)
        loudest = max(list(self._played)[-max(1, int(within_ms / block_ms)) :])
        limit = LOUDER * self._ratio * max(loudest, ACTIVE)
        louder = self._heard > limit and captured > limit / PAUSE
        if self._learnt_ms < LEARNT_MS or not louder:
            if loudest > HEARD:
                self._learn(self._heard / loudest, block_ms)
            self._loud_ms = max(0.0, self._loud_ms - block_ms)
            self._open_ms = max(0.0, self._open_ms - block_ms)
        else:
            self._loud_ms = min(FOR_MS, self._loud_ms + block_ms)
            if self._loud_ms >= FOR_MS:
                self._open_ms = OPEN_MS
        self._since_ms = self._since_ms + block_ms if self.open else 0.0
        if self._since_ms > TOO_LONG_MS:
            self._learnt_ms = self._loud_ms = self._open_ms = self._since_ms = 0.0

    def _smooth(self, captured: float, played: float, block_ms: float) -> None:
        share = min(1.0, block_ms / SMOOTH_MS)
        self._heard += (captured - self._heard) * share
        self._playing += (played - self._playing) * share
        self._played.append(self._playing)

    def _learn(self, ratio: float, block_ms: float) -> None:
        if self._learnt_ms >= LEARNT_MS:
            ratio = min(ratio, self._ratio * (1.0 + RISES_PER_MS * block_ms))
        self._learnt_ms = min(LEARNT_MS, self._learnt_ms + block_ms)
        self._ratio = max(ratio, self._ratio * (1.0 - FORGETS_PER_MS * block_ms))
