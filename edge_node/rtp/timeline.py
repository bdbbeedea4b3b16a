"""RTP timestamps that go on where 32 bits start over."""

from __future__ import annotations


class Timeline:
    """Counts from 0 at the first timestamp."""

    def __init__(self) -> None:
        self._last: int | None = None
        self._at = 0
        self._step = 0

    def map(self, timestamp: int) -> int:
        """Ticks since the first one; smaller ones than the last go back."""
        if self._last is not None:
            self._at += (timestamp - self._last + 2**31) % 2**32 - 2**31
        elif self._step:
            self._at += self._step
        self._last = timestamp
        return self._at

    def restart(self, step: int) -> None:
        """The sender starts anew: its next timestamp, whatever it is, counts as `step` ticks after the last."""
        self._last, self._step = None, step
