"""One direction at a time: whoever is played silences the microphone."""

from __future__ import annotations

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
    """Turns the microphone down while anything is played, and until its echo has died away."""

    def __init__(self, tail_ms: float = TAIL_MS) -> None:
        self._tail_ms = tail_ms
        self._held_ms = 0.0
        self._gain = 1.0

    @property
    def closed(self) -> bool:
        """Whether the microphone is turned down."""
        return self._held_ms > 0.0

    def process(self, captured: Pcm, played: Pcm, delay_ms: float) -> Pcm:
        """What may be sent of `captured`, recorded while `played` was played; its echo comes delay_ms later."""
        block_ms = len(captured) * 1000.0 / RATE
        if mean_square(played) > ACTIVE:
            self._held_ms = delay_ms + self._tail_ms
        else:
            self._held_ms = max(0.0, self._held_ms - block_ms)
        target = CLOSED_GAIN if self.closed else 1.0
        if target == self._gain == 1.0:
            return captured
        gains = np.full(len(captured), target, np.float32)
        if target != self._gain:
            ramp = min(RAMP_FRAMES, len(captured))
            gains[:ramp] = np.linspace(self._gain, target, ramp, dtype=np.float32)
            self._gain = target
        return saturate(captured * gains)
