"""A window that puts packets in order without making them wait when nothing is missing."""

from __future__ import annotations

from typing import Generic, TypeVar

Item = TypeVar("Item")

HOLD_S = 0.01
"""A packet of sound waits this long, half its length, for the one before it: the playout buffer holds little more."""
HELD = 2
"""So many packets after a missing one prove it lost."""
SPAN = 100
"""Numbers further behind are a sender that started anew."""


class Reorder(Generic[Item]):
    """push() gives what may go on now; overflow rule: `held` packets in wait all go, over the gap.

    What comes after its place went by is dropped and counted in `late`.
    """

    def __init__(self, *, held: int = HELD, hold_s: float = HOLD_S) -> None:
        self._most = held
        self._hold_s = hold_s
        self._next: int | None = None
        self._held: dict[int, tuple[float, Item]] = {}
        self.late = 0
        self.missing = 0

    @property
    def deadline(self) -> float | None:
        """When tick() has something to give."""
        return min((since + self._hold_s for since, _ in self._held.values()), default=None)

    def push(self, number: int, item: Item, now: float) -> list[Item]:
        """One packet by its 16-bit sequence number."""
        step = 0 if self._next is None else (number - self._next + 2**15) % 2**16 - 2**15
        if self._next is None or abs(step) >= SPAN:
            left = self.restart()
            self._next = (number + 1) % 2**16
            return [*left, item]
        if step < 0 or number in self._held:
            self.late += 1
            return []
        self._held[number] = (now, item)
        ready = self._contiguous()
        return [*ready, *self._release()] if len(self._held) >= self._most else ready

    def tick(self, now: float) -> list[Item]:
        """What has waited long enough."""
        deadline = self.deadline
        return self._release() if deadline is not None and deadline <= now else []

    def restart(self) -> list[Item]:
        """Another sender follows, with numbers of its own; what waits goes."""
        left = self._release()
        self._next = None
        return left

    def _contiguous(self) -> list[Item]:
        ready = []
        while self._next is not None and self._next in self._held:
            ready.append(self._held.pop(self._next)[1])
            self._next = (self._next + 1) % 2**16
        return ready

    def _release(self) -> list[Item]:
        """All that waits, in order; what was waited for is lost."""
        ready: list[Item] = []
        while self._held and self._next is not None:
            while self._next not in self._held:
                self._next = (self._next + 1) % 2**16
                self.missing += 1
            ready += self._contiguous()
        return ready
