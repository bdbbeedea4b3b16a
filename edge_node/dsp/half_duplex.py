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


UNHEARD_MS = 500.0
"""Without a block from the microphone for so long, nobody can be speaking into it."""


class Fader:
    """A gain that is 1 or CLOSED_GAIN, with a ramp between them."""

    def __init__(self) -> None:
        self._gain = 1.0

    def fade(self, pcm: Pcm, closed: bool) -> Pcm:
        """The block turned down, or as it is."""
        target = CLOSED_GAIN if closed else 1.0
        if target == self._gain == 1.0:
            return pcm
        gains = np.full(len(pcm), target, np.float32)
        if target != self._gain:
            ramp = min(RAMP_FRAMES, len(pcm))
            gains[:ramp] = np.linspace(self._gain, target, ramp, dtype=np.float32)
            self._gain = target
        return saturate(pcm * gains)


class HalfDuplex:
    """Turns the microphone down while anything is played, and until its echo has died away.

    Whoever talks clearly louder than the echo ever was breaks in: then it is the speaker that is turned down, and the
    microphone opens as soon as the echo of what was played before has died away.
    """

    def __init__(self, tail_ms: float = TAIL_MS) -> None:
        self._tail_ms = tail_ms
        self._held_ms = 0.0
        """Until the echo of what was really played is gone."""
        self._wanted_ms = 0.0
        """Until that of what was to be played would be."""
        self._offered = 0.0
        """Power of the last block that was to be played."""
        self._unheard_ms = 0.0
        self._microphone, self._speaker = Fader(), Fader()
        self._break_in = BreakIn()

    @property
    def closed(self) -> bool:
        """Whether the microphone is turned down."""
        return self._held_ms > 0.0

    @property
    def broken_in(self) -> bool:
        """Whether somebody at the microphone has taken the turn: the speaker is turned down."""
        return self._break_in.open

    def play(self, offered: Pcm, taking_turns: bool = True) -> Pcm:
        """What is to be played instead of `offered`; never turned down unless both sides are `taking_turns`."""
        self._offered = mean_square(offered)
        self._unheard_ms += len(offered) * 1000.0 / RATE
        return self._speaker.fade(offered, taking_turns and self.broken_in and self._unheard_ms < UNHEARD_MS)

    def process(self, captured: Pcm, played: Pcm, delay_ms: float, raw: Pcm | None = None) -> Pcm:
        """What may be sent of `captured`, recorded while `played` was played; its echo comes delay_ms later.

        `raw` is what was recorded, where a canceller has worked on `captured`: the echo in it is always the same.
        """
        block_ms = len(captured) * 1000.0 / RATE
        within_ms = delay_ms + self._tail_ms
        power = mean_square(played)
        wanted = max(power, self._offered)
        self._unheard_ms = 0.0
        self._held_ms = within_ms if power > ACTIVE else max(0.0, self._held_ms - block_ms)
        self._wanted_ms = within_ms if wanted > ACTIVE else max(0.0, self._wanted_ms - block_ms)
        if self._wanted_ms > 0.0 or self.broken_in:
            self._break_in.feed(mean_square(captured if raw is None else raw), wanted, within_ms, block_ms)
        else:
            self._break_in.rest(block_ms)
        return self._microphone.fade(captured, self.closed)


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
KEEPS = 8.0
"""Who has broken in keeps the turn 9 dB below what it takes to get it: there is no echo meanwhile."""
FOR_MS = 200.0
OPEN_MS = 600.0
"""From one word to the next, a breath between them."""
RISES_PER_MS = 7e-4
"""3 dB a second: a voice that begins must not pass for its own echo."""
FORGETS_PER_MS = 1e-4
"""The loudest echo counts for half after 7 s of a softer one."""
TOO_LONG_MS = 8000.0
"""Nobody talks so long without a pause: it is a noise, and the other side shall be heard again."""
IN_VAIN_MS = 100.0
"""Whoever falls silent within this of the echo's end was the echo itself."""
IN_VAIN = 3
"""So many times in a row: the echo is louder than it was, and is learnt anew."""
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
        self._spoken_ms = 0.0
        """Of louder blocks, both since it is open."""
        self._limit = 0.0
        self._in_vain = 0

    @property
    def open(self) -> bool:
        """Whether somebody has broken in."""
        return self._open_ms > 0.0

    def rest(self, block_ms: float) -> None:
        """Nothing is held: whoever talks need not break in."""
        self._smooth(0.0, 0.0, block_ms)
        self._loud_ms = 0.0

    def feed(self, captured: float, played: float, within_ms: float, block_ms: float) -> None:
        """Powers of a block recorded and of one to be played, whose echo may come at any time `within_ms`."""
        self._smooth(captured, played, block_ms)
        loudest = max(list(self._played)[-max(1, int(within_ms / block_ms)) :])
        if loudest > HEARD or not self.open:
            self._limit = LOUDER * self._ratio * max(loudest, ACTIVE)
        if self._learnt_ms < LEARNT_MS or not self._louder_than(
            self._limit / KEEPS if self.open else self._limit, captured
        ):
            if loudest > HEARD and not self.open:
                self._learn(self._heard / loudest, block_ms)
            self._loud_ms = max(0.0, self._loud_ms - block_ms)
            if self.open:
                self._close(max(0.0, self._open_ms - block_ms), within_ms)
        else:
            self._loud_ms = min(FOR_MS, self._loud_ms + block_ms)
            if self._loud_ms >= FOR_MS:
                self._open_ms = OPEN_MS
        if self.open:
            self._spoken_ms += block_ms * self._louder_than(self._limit, captured)
            self._since_ms += block_ms * (loudest > HEARD)
        if self._since_ms > TOO_LONG_MS:
            self._close(0.0, within_ms)
            self._learnt_ms = 0.0

    def _louder_than(self, limit: float, captured: float) -> bool:
        return self._heard > limit and captured > limit / PAUSE

    def _close(self, left_ms: float, within_ms: float) -> None:
        """It stays open for so long; at its end it turns out whether anybody has spoken."""
        self._open_ms = left_ms
        if left_ms:
            return
        self._in_vain = self._in_vain + 1 if self._spoken_ms < within_ms + IN_VAIN_MS else 0
        if self._in_vain >= IN_VAIN:
            self._learnt_ms, self._in_vain = 0.0, 0
        self._loud_ms = self._since_ms = self._spoken_ms = 0.0

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
