"""Token buckets as values, which bound how often something may happen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `burst` at once and `per_s` a second in the long run."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True)
class _Level:
    tokens: float
    at: float


class Buckets:
    """One token bucket per key.

    Holds at most `size` keys; the key that has been quiet longest is forgotten first. `refused` counts what was over
    the rate.
    """

    def __init__(self, rate: Rate, size: int = 512) -> None:
        self._rate = rate
        self._size = size
        self._levels: dict[str, _Level] = {}
        self.refused = 0

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: str, now: float) -> bool:
        """True when `key` may act at `now` (seconds)."""
        level = self._levels.pop(key, None) or _Level(self._rate.burst, now)
        tokens = min(self._rate.burst, level.tokens + (now - level.at) * self._rate.per_s)
        granted = tokens >= 1
        if not granted:
            self.refused += 1
        elif len(self._levels) >= self._size:
            self._levels.pop(next(iter(self._levels)))
        self._levels[key] = _Level(tokens - 1 if granted else tokens, now)
        return granted
