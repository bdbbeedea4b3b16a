"""How loud a sound is."""

from __future__ import annotations

import math

import numpy as np

from edge_node.dsp.pcm import FULL_SCALE, RATE, Pcm

FLOOR_DBFS = -100.0
"""What digital silence reads: below one 16-bit step (-90.3 dBFS)."""


def mean_square(pcm: Pcm) -> float:
    """Mean of the squared samples in [0, 1]; 0 for an empty block."""
    if len(pcm) == 0:
        return 0.0
    samples = pcm.astype(np.float32)
    return float(np.dot(samples, samples)) / len(pcm) / FULL_SCALE**2


def to_dbfs(square: float) -> float:
    """Decibels of a mean square; 0 is a full-scale square wave, a full-scale sine reads -3.01."""
    return max(FLOOR_DBFS, 10.0 * math.log10(square)) if square > 0.0 else FLOOR_DBFS


def dbfs(pcm: Pcm) -> float:
    """RMS level of a block in dBFS, at least FLOOR_DBFS."""
    return to_dbfs(mean_square(pcm))


def peak(pcm: Pcm) -> float:
    """The largest magnitude in a block, 0 to 1."""
    return float(np.abs(pcm.astype(np.int32)).max(initial=0)) / FULL_SCALE


class Meter:
    """A level that follows a stream with a time constant of `settle_s` seconds."""

    def __init__(self, settle_s: float = 0.3) -> None:
        self._frames = settle_s * RATE
        self._square = 0.0

    def feed(self, pcm: Pcm) -> None:
        """The next block."""
        keep = math.exp(-len(pcm) / self._frames)
        self._square = keep * self._square + (1.0 - keep) * mean_square(pcm)

    @property
    def dbfs(self) -> float:
        """The level now, at least FLOOR_DBFS."""
        return to_dbfs(self._square)
