"""How much of the echo is left, as far as one can tell from outside."""

from __future__ import annotations

from collections import deque

import numpy as np

from edge_node.dsp.half_duplex import ACTIVE
from edge_node.dsp.level import mean_square
from edge_node.dsp.pcm import RATE, Pcm

SEGMENT_BLOCKS = 10
KEPT_SEGMENTS = 50
"""Five seconds of echo."""
MAX_DELAY_BLOCKS = 64
FAINT = 1e-4
"""An echo 40 dB below what is played says more about the room's noise than about a canceller."""
QUIETEST = 1e-9
"""Keeps the ratio finite: below one step of 16 bits."""
LEARNING_SEGMENTS = 20
TRUSTED_DB = 20.0
DISTRUSTED_DB = 10.0
"""Less than this even in the best quarter of the segments: that is no longer somebody talking into them."""


class EchoReturn:
    """Echo return loss enhancement: the microphone's power before over after cancelling, while an echo is heard.

    Taken over segments of 100 ms throughout which something was played. Whoever talks into such a segment lowers its
    value: that is why a quantile of many segments is given, not the newest.
    """

    def __init__(self) -> None:
        self._powers: deque[float] = deque(maxlen=MAX_DELAY_BLOCKS + SEGMENT_BLOCKS)
        self._segments: deque[float] = deque(maxlen=KEPT_SEGMENTS)
        self._before = self._after = 0.0
        self._blocks = 0
        self._trusted = False
        self._judged = 0
        """Segments since it was last trusted or not, the faint ones included."""
        self._faint = 0

    @property
    def db(self) -> float | None:
        """The median of the newest five seconds of echo; None before the first."""
        return self._quantile_db(0.5, KEPT_SEGMENTS)

    @property
    def trusted(self) -> bool:
        """Whether the canceller has shown that it works, or that there is no echo; both may change."""
        return self._trusted

    def feed(self, captured: Pcm, cleaned: Pcm, played: Pcm, delay_ms: float) -> None:
        """What was recorded, what is left of it, and what was played meanwhile; its echo comes delay_ms later."""
        self._powers.append(mean_square(played))
        self._before += mean_square(captured)
        self._after += mean_square(cleaned)
        self._blocks += 1
        if self._blocks < SEGMENT_BLOCKS:
            return
        delay_blocks = min(round(delay_ms * RATE / 1000.0 / len(captured)), MAX_DELAY_BLOCKS)
        end = len(self._powers) - delay_blocks
        heard = list(self._powers)[max(0, end - SEGMENT_BLOCKS) : max(0, end)]
        if len(heard) == SEGMENT_BLOCKS and min(heard) > ACTIVE:
            self._judge(sum(heard))
        self._before = self._after = 0.0
        self._blocks = 0

    def forget(self) -> None:
        """The echo's path, or the canceller, has changed."""
        self._segments.clear()
        self._trusted = False
        self._judged = self._faint = 0

    def _judge(self, heard: float) -> None:
        self._judged += 1
        if self._before > FAINT * heard:
            self._segments.append(10.0 * float(np.log10((self._before + QUIETEST) / (self._after + QUIETEST))))
            self._faint = 0
        else:
            self._faint += 1
        if self._judged < LEARNING_SEGMENTS:
            return
        usual, best = self._quantile_db(0.5, LEARNING_SEGMENTS), self._quantile_db(0.75, KEPT_SEGMENTS)
        if not self._trusted and (self._faint >= LEARNING_SEGMENTS or (usual is not None and usual >= TRUSTED_DB)):
            self._trusted = True
            self._judged = 0
        elif self._trusted and not self._faint and best is not None and best < DISTRUSTED_DB:
            self._trusted = False
            self._judged = 0

    def _quantile_db(self, share: float, newest: int) -> float | None:
        newest_segments = list(self._segments)[-newest:]
        return float(np.quantile(newest_segments, share)) if newest_segments else None
