"""When the next block is due."""

from __future__ import annotations


class Pacer:
    """Deadlines `period_s` apart that do not drift with the sleeper's lateness.

    After a stall of more than `max_lag_s` the missed deadlines are skipped, not made up for in a burst.
    """

    def __init__(self, period_s: float, max_lag_s: float = 0.1) -> None:
        self._period_s = period_s
        self._max_lag_s = max_lag_s
        self._due: float | None = None
        self.stalls = 0
        """How often the deadlines were moved because the sleeper was too late."""

    def wait_s(self, now: float) -> float:
        """Seconds from now to the next deadline, 0 when it has passed; each call is one period further."""
        if self._due is None:
            self._due = now
        self._due += self._period_s
        if now - self._due > self._max_lag_s:
            self.stalls += 1
            self._due = now
        return max(0.0, self._due - now)
