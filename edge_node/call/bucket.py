"""How often each of many may do something."""

from __future__ import annotations

from dataclasses import dataclass

from edge_node.bucket import Bucket


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `burst` at once and `per_s` a second in the long run."""

    per_s: float
    burst: int


class Buckets:
    """One token bucket per key.

    Holds at most `size` keys; the key that has been quiet longest is forgotten first. `refused` counts what was over
    the rate.
    """

    def __init__(self, rate: Rate, size: int = 512) -> None:
        self._rate = rate
        self._size = size
        self._buckets: dict[str, Bucket] = {}
        self.refused = 0

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now: float) -> bool:
        """True when `key` may act at `now` (seconds)."""
        rate = self._rate
        bucket = self._buckets.pop(key, None) or Bucket(rate.per_s, rate.burst, rate.burst, now)
        granted = bucket.take(now)
        if not granted:
            self.refused += 1
        elif len(self._buckets) >= self._size:
            self._buckets.pop(next(iter(self._buckets)))
        self._buckets[key] = bucket
        return granted
