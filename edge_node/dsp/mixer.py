"""Adding up what several people say, under what the node itself has to say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from edge_node.dsp.pcm import FULL_SCALE, RATE, Floats, Pcm, saturate

MAX_SOURCES = 8
"""Overflow rule: the loudest are heard."""
CEILING = 0.9 * FULL_SCALE
"""What the limiter leaves of a loud mix; a single voice that is louder by itself is not touched below this."""
RELEASE_S = 0.3
"""How long the limiter and the ducking take to let go by 1/e."""
DUCKED = 0.18
"""-15 dB: people are still heard under an announcement, and do not mask it."""
ATTACK = RATE // 1000
"""1 ms: gains fall within this, without a click."""


def gain_of(db: float) -> float:
    """The factor of a gain in decibels."""
    return float(10.0 ** (db / 20.0))


def gained(pcm: Pcm, gain: float) -> Pcm:
    """Louder or softer by a factor, saturated."""
    return pcm if gain == 1.0 else saturate(pcm * np.float32(gain))


def mix(blocks: Iterable[Pcm], frames: int) -> Pcm:
    """The saturated sum of mono blocks as one block of `frames`; shorter blocks count as silent at their end."""
    total = np.zeros(frames, np.int32)
    for block in blocks:
        part = block[:frames]
        total[: len(part)] += part
    return saturate(total)


class Glide:
    """A gain that falls within 1 ms and rises again slowly, without steps."""

    def __init__(self) -> None:
        self._gain = 1.0

    def towards(self, wanted: float, frames: int) -> Floats | float:
        """The gain of each of the next `frames` samples; one number while it stands still."""
        before = self._gain
        if wanted < before:
            self._gain = wanted
            ramp = np.full(frames, wanted, np.float32)
            head = min(ATTACK, frames)
            ramp[:head] = np.linspace(before, wanted, head, dtype=np.float32)
            return ramp
        if before > 0.999 and wanted >= 1.0:
            self._gain = 1.0
            return 1.0
        self._gain += (wanted - before) * (1.0 - float(np.exp(-frames / (RELEASE_S * RATE))))
        return np.linspace(before, self._gain, frames, dtype=np.float32)


class Mixer:
    """Voices with their gains, ducked under announcements, limited softly; never wraps around."""

    def __init__(self, gain: float = 1.0) -> None:
        """`gain`: a factor for all of it, before the limit."""
        self._gain = np.float32(gain)
        self._duck = Glide()
        self._limit = Glide()

    def mix(self, voices: Sequence[tuple[Pcm, float]], announcement: Pcm | None, frames: int) -> Pcm:
        """One block of `frames` from (block, gain) pairs, with an announcement of the same length over them."""
        if len(voices) > MAX_SOURCES:
            voices = sorted(voices, key=lambda voice: _loudness(*voice), reverse=True)[:MAX_SOURCES]
        total: npt.NDArray[np.float32] = np.zeros(frames, np.float32)
        for block, gain in voices:
            total[: len(block)] += block if gain == 1.0 else block * np.float32(gain)
        total *= self._duck.towards(1.0 if announcement is None else DUCKED, frames)
        if announcement is not None:
            total[: len(announcement)] += announcement
        total *= self._gain
        peak = float(np.abs(total).max(initial=0.0))
        total *= self._limit.towards(min(1.0, CEILING / peak) if peak else 1.0, frames)
        return saturate(total)


def _loudness(block: Pcm, gain: float) -> float:
    samples = block.astype(np.float32)
    return float(np.dot(samples, samples)) * gain * gain
