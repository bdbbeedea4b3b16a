"""How large a buffer has to be, learnt from how often it ran dry."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class LatencySteps:
    """Steps from small to large: up when more than `tolerated` faults fall into `window_s`, down after `calm_s`.

    Going up is quick since a fault is heard; going down is slow since nobody hears the difference. A step that had to
    be left upwards is tried again only after twice as long each time, so that the size comes to rest.
    """

    def __init__(
        self, steps: Sequence[float], *, tolerated: int = 2, window_s: float = 10.0, calm_s: float = 60.0
    ) -> None:
        self._steps = tuple(steps)
        self._tolerated = tolerated
        self._window_s = window_s
        self._calm_s = calm_s
        self._faults: deque[float] = deque(maxlen=tolerated + 1)
        self._at = 0
        self._since: float | None = None

    @property
    def value(self) -> float:
        """The step now."""
        return self._steps[self._at]

    def fault(self, now: float) -> bool:
        """The buffer ran dry; whether a larger one is due. `now` in seconds."""
        self._since = now
        self._faults.append(now)
        full = len(self._faults) > self._tolerated and now - self._faults[0] <= self._window_s
        if not full or self._at == len(self._steps) - 1:
            return False
        self._at += 1
        self._calm_s *= 2.0
        self._faults.clear()
        return True

    def calm(self, now: float) -> bool:
        """All is well; whether a smaller buffer is worth a try."""
        if self._since is None:
            self._since = now
        if self._at == 0 or now - self._since < self._calm_s:
            return False
        self._at -= 1
        self._since = now
        return True
