"""How long the speaker's sound takes to come back to the microphone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edge_node.dsp.pcm import FULL_SCALE, RATE, Pcm

STEP = 12
"""Samples that are averaged into one: 4 kHz is enough for speech, to a quarter of a millisecond."""
WINDOW = 16_384
"""Samples compared: four seconds at 4 kHz."""
MAX_DELAY_MS = 500
SPREAD = 0.7
"""Exponent of the whitening: 1 would take each frequency for as good as any other, noise included."""
KEEP = 0.7
SURE = 8.0
"""A peak this many times the root mean square of its surroundings is no chance: noise alone reaches about 4."""
QUIET = 1e-7
"""Mean square below which nothing is played (-70 dBFS)."""


class EchoDelay:
    """Compares both sounds once per second by a whitened correlation (GCC-PHAT, Knapp and Carter 1976)."""

    def __init__(self, every_blocks: int = 100) -> None:
        self._every = every_blocks
        self._played = np.zeros(WINDOW, np.float32)
        self._captured = np.zeros(WINDOW, np.float32)
        self._cross: npt.NDArray[np.complexfloating] | None = None
        self._blocks = 0
        self.ms: float | None = None
        """Delay from a block's being played to its coming back; None while no echo is found."""

    def feed(self, captured: Pcm, played: Pcm) -> bool:
        """A pair of blocks, each of a multiple of 12 frames; whether `ms` was measured anew."""
        self._captured = _appended(self._captured, captured)
        self._played = _appended(self._played, played)
        self._blocks += 1
        if self._blocks % self._every or np.mean(self._played**2) < QUIET:
            return False
        return self._measure()

    def _measure(self) -> bool:
        size = 2 * WINDOW
        cross: npt.NDArray[np.complexfloating] = np.fft.rfft(self._captured, size) * np.conj(
            np.fft.rfft(self._played, size)
        )
        cross /= np.abs(cross) ** SPREAD + 1e-12
        self._cross = cross if self._cross is None else KEEP * self._cross + cross
        correlation = np.abs(np.fft.irfft(self._cross, size)[: MAX_DELAY_MS * RATE // STEP // 1000])
        best = int(np.argmax(correlation))
        if correlation[best] < SURE * np.sqrt(np.mean(correlation**2)):
            return False
        self.ms = best * STEP * 1000.0 / RATE
        return True


def _appended(held: npt.NDArray[np.float32], pcm: Pcm) -> npt.NDArray[np.float32]:
    fewer = pcm.reshape(-1, STEP).mean(axis=1, dtype=np.float32) / np.float32(FULL_SCALE)
    return np.concatenate((held[len(fewer) :], fewer))
