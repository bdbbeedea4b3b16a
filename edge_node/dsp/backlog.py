"""When what a sound card has recorded waits for good, because its process was held up once."""

from __future__ import annotations

LASTING = 100
"""Blocks of 10 ms in a row: what goes away by itself within a second is not a backlog."""
PAUSE = 200
MAX_PAUSE = 360_000
"""From 2 s to an hour between two attempts that did not help: the card lies, or cannot do better."""


class Backlog:
    """feed() each block's waiting time; True when only starting the card anew brings it back to live."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._over = self._within = 0
        """Blocks in a row."""
        self._pause = PAUSE
        self._rest = 0

    def feed(self, waited_s: float) -> bool:
        """Whether to start anew, after a block that was recorded `waited_s` seconds ago; not finite is not believed."""
        self._rest = max(0, self._rest - 1)
        if self._limit_s < waited_s < float("inf"):
            self._over, self._within = self._over + 1, 0
        else:
            self._over, self._within = 0, self._within + 1
        if self._within >= LASTING:
            self._pause = PAUSE
        if self._over < LASTING or self._rest:
            return False
        self._rest, self._over = self._pause, 0
        self._pause = min(2 * self._pause, MAX_PAUSE)
        return True
