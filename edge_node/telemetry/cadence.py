"""When the next telemetry sample is due."""

from __future__ import annotations

import math

MIN_GAP_S = 1.0
JITTER_RATIO = 0.1
"""Share of the interval by which samples of many nodes spread out after a common restart of the hub."""


class Cadence:
    """A sample every interval_s, at once when something changed, never closer than min_gap_s."""

    def __init__(self, interval_s: float, min_gap_s: float = MIN_GAP_S) -> None:
        self._interval_s = interval_s
        self._min_gap_s = min(min_gap_s, interval_s)
        self._last = -math.inf
        self._deadline = -math.inf

    @property
    def deadline(self) -> float:
        """Monotonic seconds of the next sample; -inf when it is due at once."""
        return self._deadline

    def changed(self) -> None:
        """Something worth telling happened: the next sample is due as soon as min_gap_s allows."""
        self._deadline = min(self._deadline, self._last + self._min_gap_s)

    def take(self, now: float, jitter: float = 0.0) -> bool:
        """True when a sample is due now, which it then counts as taken; jitter is from -1 to 1."""
        if now < self._deadline:
            return False
        self._last = now
        self._deadline = now + self._interval_s * (1.0 + JITTER_RATIO * max(-1.0, min(1.0, jitter)))
        return True
