"""How often one viewer may have a keyframe that all others get, too."""

from __future__ import annotations

FIRST_S = 0.3
MOST_S = 1.0
FORGET_S = 5.0


class AskLimiter:
    """Grants a viewer's first request (PLI, FIR) at once, the next ones after FIRST_S, twice that … at most MOST_S.

    A viewer that still cannot decode repeats its request, so none has to be kept. FORGET_S without one, and the next is
    a first one again. `refused` counts.
    """

    def __init__(self) -> None:
        self._wait_s = 0.0
        self._granted_at = float("-inf")
        self._asked_at = float("-inf")
        self.refused = 0

    def ask(self, now: float) -> bool:
        """Whether a request that comes now is handed on."""
        if now - self._asked_at > FORGET_S:
            self._wait_s = 0.0
        self._asked_at = now
        if now - self._granted_at < self._wait_s:
            self.refused += 1
            return False
        self._wait_s = min(MOST_S, max(FIRST_S, 2 * self._wait_s))
        self._granted_at = now
        return True
