"""How long to wait before the next attempt."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """An exponential schedule; `jitter_ratio` spreads each delay by that share both ways.

    The attempt counter starts over only after a connection that lasted `stable_s`: a server that accepts and then
    closes at once is not stormed.
    """

    initial_s: float = 0.5
    multiplier: float = 2.0
    max_s: float = 30.0
    jitter_ratio: float = 0.2
    max_attempts: float = 100
    stable_s: float = 30.0


class Backoff:
    """Counts attempts under one policy."""

    def __init__(self, policy: BackoffPolicy) -> None:
        self._policy = policy
        self._next_s = policy.initial_s
        self._connected_at: float | None = None
        self.attempts = 0

    def connected(self, now: float) -> None:
        """The attempt succeeded at `now` (seconds)."""
        self._connected_at = now

    def lost(self, now: float) -> None:
        """The connection ended at `now`; one that was stable starts the schedule over."""
        if self._connected_at is not None and now - self._connected_at >= self._policy.stable_s:
            self.reset()
        self._connected_at = None

    def reset(self) -> None:
        self.attempts = 0
        self._next_s = self._policy.initial_s

    def delay(self, jitter: float, floor_s: float = 0.0) -> float | None:
        """Seconds until the next attempt, at least floor_s before jitter (0..1 from the caller); None: give up."""
        if self.attempts >= self._policy.max_attempts:
            return None
        base = max(self._next_s, floor_s)
        self.attempts += 1
        self._next_s = min(self._next_s * self._policy.multiplier, self._policy.max_s)
        return base * (1.0 + self._policy.jitter_ratio * (2.0 * jitter - 1.0))
