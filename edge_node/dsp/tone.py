"""A sine that goes on where it stopped."""

from __future__ import annotations

import math

import numpy as np

from edge_node.dsp.pcm import RATE, Pcm, to_int16


class Tone:
    """Blocks of a sine of `frequency_hz` with a peak of `amplitude` (0 to 1)."""

    def __init__(self, frequency_hz: float = 440.0, amplitude: float = 0.1, rate: int = RATE) -> None:
        self._step = 2.0 * math.pi * frequency_hz / rate
        self._phase = 0.0
        self.amplitude = amplitude

    def block(self, frames: int) -> Pcm:
        """The next `frames` samples."""
        samples = np.sin(self._phase + self._step * np.arange(frames))
        # Kept within one turn: a phase that grows for weeks would lose precision.
        self._phase = math.fmod(self._phase + self._step * frames, 2.0 * math.pi)
        return to_int16(self.amplitude * samples)
