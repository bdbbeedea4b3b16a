"""Packets that are missing, asked for again until they come or are given up."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

REPEAT_S = 0.05
"""A lost repair is asked for again this soon while nobody knows how far the sender is."""
MIN_REPEAT_S = 0.02
REPEAT_PER_RTT = 1.2
HURRY = 1 / 3
"""Of that wait, after the first repetition: the picture stands still by now, and senders answer once a round trip."""
MIN_HURRY_S = 0.01
PATIENCE_S = 0.4
PATIENCE_PER_RTT = 2.5
"""Time for a second repair when the first is lost, however far the sender."""
MAX_PATIENCE_S = 1.0
MAX_ASKED = 250
"""Numbers in one question: at most 1000 bytes of RTCP (RFC 4585 section 6.2.1)."""
REPAIRS = 9
"""Each took one round trip, or more when a question or an answer was lost: the third part of them that was fastest did
not lose any, at any loss that leaves a picture."""


@dataclass(slots=True)
class _Hole:
    since: float
    asked_at: float | None = None
    asks: int = 0


class Holes:
    """Missing sequence numbers, unwrapped, in rising order. The caller bounds how many are open."""

    def __init__(self) -> None:
        self._open: dict[int, _Hole] = {}
        self._took_s: deque[float] = deque(maxlen=REPAIRS)
        self.rtt_s: float | None = None
        """From a question to its repair, of late; None before the first."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def repeat_s(self) -> float:
        """At 5 % loss both ways one question in ten stays without a repair: three in a row may take no 0.2 s."""
        return REPEAT_S if self.rtt_s is None else max(MIN_REPEAT_S, REPEAT_PER_RTT * self.rtt_s)

    @property
    def patience_s(self) -> float:
        return min(MAX_PATIENCE_S, max(PATIENCE_S, PATIENCE_PER_RTT * (self.rtt_s or 0.0)))

    def open(self, first: int, stop: int, now: float) -> None:
        """The packets from `first` up to, not with, `stop` did not come; all higher than any before."""
        for number in range(first, stop):
            self._open[number] = _Hole(now)

    def fill(self, number: int, now: float, *, repair: bool) -> None:
        """A packet came after all: as a `repair`, or only late."""
        hole = self._open.pop(number, None)
        # From the first question: counted from the last one, a wait that is too short would never be found out.
        if hole is not None and hole.asks and repair:
            self._took_s.append(now - hole.since)
            self.rtt_s = sorted(self._took_s)[len(self._took_s) // 3]

    def forget(self, stop: int) -> int:
        """Gives up all below `stop`; returns how many there were."""
        gone = [number for number in self._open if number < stop]
        for number in gone:
            del self._open[number]
        return len(gone)

    def expired(self, now: float) -> int | None:
        """The highest number that was waited for long enough."""
        return max((n for n, hole in self._open.items() if hole.since + self.patience_s <= now), default=None)

    def ask(self, now: float) -> tuple[int, ...]:
        """The numbers to ask for now, the oldest first."""
        due = [(n, hole) for n, hole in self._open.items() if self._due(hole) <= now][:MAX_ASKED]
        for _, hole in due:
            hole.asked_at = now
            hole.asks += 1
        return tuple(number for number, _ in due)

    def _due(self, hole: _Hole) -> float:
        if hole.asked_at is None:
            return hole.since
        hurries = hole.asks > 1 and self.rtt_s is not None
        return hole.asked_at + (max(MIN_HURRY_S, HURRY * self.repeat_s) if hurries else self.repeat_s)

    @property
    def deadline(self) -> float | None:
        """When to ask again, or to give up."""
        times = [min(self._due(hole), hole.since + self.patience_s) for hole in self._open.values()]
        return min(times, default=None)
