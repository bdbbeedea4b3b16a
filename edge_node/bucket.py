"""How often something may happen, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """A token bucket: `rate_per_s` on average, `burst` at once; times in monotonic seconds."""

    rate_per_s: float
    burst: float
    tokens: float
    refilled_at: float

    def take(self, now: float) -> bool:
        """Takes one token; False when there is none. A clock that goes back earns nothing."""
        earned = max(0.0, now - self.refilled_at) * self.rate_per_s
        self.tokens = min(self.burst, self.tokens + earned)
        self.refilled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
