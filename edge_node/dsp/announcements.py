"""What the node itself has to say: one sound at a time, once or again and again."""

from __future__ import annotations

from collections import deque

import numpy as np

from edge_node.dsp.pcm import RATE, Pcm, silence

MAX_WAITING = 4
"""Overflow rule: the sound that waits longest is dropped."""
FADE = RATE // 200
"""5 ms: a sound that is broken off dies away without a click."""


class Announcements:
    """say() and repeat() queue sounds, pull() gives them block by block; None while there is nothing to hear."""

    def __init__(self) -> None:
        self._waiting: deque[Pcm] = deque(maxlen=MAX_WAITING)
        self._repeated: Pcm | None = None
        self._now = silence(0)

    @property
    def speaking(self) -> bool:
        """Whether anything is left to be heard."""
        return len(self._now) > 0 or bool(self._waiting) or self._repeated is not None

    def say(self, pcm: Pcm) -> None:
        """Plays a sound once, after those that wait."""
        if len(pcm):
            self._waiting.append(pcm)

    def repeat(self, pcm: Pcm) -> None:
        """Plays a sound again and again, once nothing else waits, until stop()."""
        self._repeated = pcm if len(pcm) else None

    def stop(self) -> None:
        """Breaks off whatever plays or waits."""
        self._waiting.clear()
        self._repeated = None
        if len(self._now):
            fade = np.linspace(1.0, 0.0, FADE)[: len(self._now)]
            self._now = (self._now[:FADE] * fade).astype(np.int16)

    def pull(self, frames: int) -> Pcm | None:
        """The next `frames` samples, or None."""
        if not self.speaking:
            return None
        parts, left = [], frames
        while left:
            if not len(self._now) and not self._advance():
                parts.append(silence(left))
                break
            part, self._now = self._now[:left], self._now[left:]
            parts.append(part)
            left -= len(part)
        return np.concatenate(parts)

    def _advance(self) -> bool:
        if self._waiting:
            self._now = self._waiting.popleft()
        elif self._repeated is not None:
            self._now = self._repeated
        return len(self._now) > 0
