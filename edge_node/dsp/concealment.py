"""What is played where sound is missing."""

from __future__ import annotations

from collections import deque

import numpy as np

from edge_node.dsp.pcm import RATE, Floats, Pcm, saturate, silence

MS = RATE // 1000
FADE = 5 * MS
"""Length of every cross-fade: short enough not to be heard as one, long enough not to click."""
DIES_AFTER = 60 * MS
"""A repeated cycle of the voice passes for speech so long (ITU-T G.711 Appendix I)."""
SHORTEST, LONGEST = 5 * MS // 2, 15 * MS
"""Cycles of human voices: 400 to 66 Hz."""
COMPARED = 10 * MS
HISTORY = LONGEST + COMPARED
COARSE = 4
"""The search looks at every fourth sample first: voices have their cycle below 6 kHz."""


class Concealer:
    """Goes on with the last cycle of the voice where packets are missing, dying away to silence.

    Give it all that is played in order: sound() what there is, missing() for what there is not.
    """

    def __init__(self) -> None:
        self._recent: deque[Pcm] = deque()
        self._held = 0
        self._gone = DIES_AFTER
        """Samples since the sound stopped; None of them while it goes on."""
        self._cycle: Floats = np.zeros(1, np.float32)
        self._step = 0.0
        self._concealing = True

    def sound(self, pcm: Pcm) -> Pcm:
        """What is really there; its beginning is faded over after a gap."""
        if self._concealing and len(pcm):
            rise = np.linspace(0.0, 1.0, FADE)[: len(pcm)]
            head = pcm[:FADE] * rise + self._continued(len(rise)) * (1.0 - rise)
            pcm = np.concatenate((saturate(head), pcm[len(rise) :]))
            self._concealing = False
        self._recent.append(pcm)
        self._held += len(pcm)
        while self._held - len(self._recent[0]) >= HISTORY:
            self._held -= len(self._recent.popleft())
        return pcm

    def missing(self, frames: int) -> Pcm:
        """What is played instead of `frames` samples that are not there."""
        if not self._concealing:
            self._concealing = True
            self._find_cycle()
        if self._gone >= DIES_AFTER:
            return silence(frames)
        return saturate(self._continued(frames))

    def prolonged(self, frames: int) -> Pcm:
        """Whole cycles of the voice, about `frames` long, to be played before what comes next: time won, unheard."""
        if not self._concealing:
            self._concealing = True
            self._find_cycle()
        cycles = max(1, frames // len(self._cycle))
        return self.missing(cycles * len(self._cycle))

    def _find_cycle(self) -> None:
        past = np.concatenate(list(self._recent))[-HISTORY:].astype(np.float32)
        self._recent.clear()
        self._held = 0
        self._gone = 0
        lag = _cycle_of(past) if len(past) == HISTORY else max(1, len(past) // 2)
        self._cycle = past[-lag:].copy()
        self._step = float(past[-1] - past[-lag - 1]) if len(past) > lag else 0.0
        # The end of a cycle flows into its beginning, so that its repeats do not buzz.
        blend = min(FADE, lag // 2, len(past) - lag)
        if blend:
            rise = np.linspace(0.0, 1.0, blend, dtype=np.float32)
            before = past[len(past) - lag - blend : len(past) - lag]
            self._cycle[-blend:] = self._cycle[-blend:] * (1 - rise) + before * rise

    def _continued(self, frames: int) -> Floats:
        at = self._gone + np.arange(frames)
        self._gone = min(DIES_AFTER, self._gone + frames)
        gain = np.clip(1.0 - at / DIES_AFTER, 0.0, 1.0)
        joint = self._step * np.clip(1.0 - at / FADE, 0.0, 1.0)
        sound: Floats = ((self._cycle[at % len(self._cycle)] + joint) * gain).astype(np.float32)
        return sound


def _cycle_of(past: Floats) -> int:
    """How many samples back the sound was most like now, from HISTORY samples."""
    coarse = past.reshape(-1, COARSE).mean(axis=1)
    lag = _best_lag(coarse, COMPARED // COARSE, SHORTEST // COARSE, LONGEST // COARSE) * COARSE
    return _best_lag(past, COMPARED, max(SHORTEST, lag - COARSE), min(LONGEST, lag + COARSE))


def _best_lag(past: Floats, compared: int, low: int, high: int) -> int:
    now = past[-compared:]
    windows = np.lib.stride_tricks.sliding_window_view(past, compared)
    last = len(past) - compared
    rows = windows[last - high : last - low + 1]
    likeness = rows @ now / np.sqrt(np.einsum("ij,ij->i", rows, rows) + 1.0)
    # The shortest of equals: a long cycle holds several of the voice.
    best = int(np.argmax(likeness[::-1]))
    return low + best
