"""How much passes per second."""

from __future__ import annotations

from collections import deque

MAX_PASSED = 1024


class RateMeter:
    """Counts what passed in the last `window_s` seconds; beyond MAX_PASSED entries the oldest leave."""

    def __init__(self, window_s: float = 2.0) -> None:
        self._window_s = window_s
        self._passed: deque[tuple[float, int]] = deque(maxlen=MAX_PASSED)
        self._begun_at: float | None = None

    def add(self, now: float, size: int = 0) -> None:
        """One more, of `size` bytes."""
        if self._begun_at is None:
            self._begun_at = now
        self._passed.append((now, size))

    def per_second(self, now: float) -> float:
        """Entries per second; 0.0 until two have passed."""
        recent = self._recent(now)
        if len(recent) < 2 or self._begun_at is None:
            return 0.0
        if now - self._begun_at >= self._window_s:
            return len(recent) / self._window_s
        return (len(recent) - 1) / max(now - self._begun_at, 1e-3)

    def settled(self, now: float) -> bool:
        """Whether it has counted for half a window, so that its rates mean something."""
        return self._begun_at is not None and now - self._begun_at >= self._window_s / 2

    def kbps(self, now: float) -> float:
        """Kilobits per second."""
        sizes = [size for _, size in self._recent(now)]
        if self._begun_at is None:
            return 0.0
        return sum(sizes) * 8 / 1000 / max(min(now - self._begun_at, self._window_s), 0.1)

    def _recent(self, now: float) -> list[tuple[float, int]]:
        return [entry for entry in tuple(self._passed) if now - self._window_s < entry[0] <= now]
