"""The hub's arithmetic: how often, how much, when to come back."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field

from edge_node.protocol.names import RETRY_AFTER_CAP_MS

MIN_RETRY_MS = 1000
"""Nobody is asked to come back sooner: a hub needs a moment to start."""
RETURNS_PER_S = 50
"""How many clients a second are asked to come back when no spread was set."""
FANOUT_BOUNDS = (0, 1, 2, 5, 10, 50, 100, 500, 1000)
"""Upper bounds of the histogram of receivers per message."""


@dataclass(slots=True)
class Quota:
    """Messages per period; periods follow each other from the first message on. `limit` None: counted, not limited."""

    limit: int | None
    period_s: float
    used: int = 0
    started_at: float | None = None

    def take(self, now: float) -> bool:
        """Counts one message; False when it is over the limit."""
        self.roll(now)
        self.used += 1
        return self.limit is None or self.used <= self.limit

    def roll(self, now: float) -> None:
        """Begins the period that `now` lies in."""
        if self.started_at is None:
            self.started_at = now
        elif now >= self.started_at + self.period_s:
            self.started_at += (now - self.started_at) // self.period_s * self.period_s
            self.used = 0

    @property
    def over(self) -> int:
        """How many messages of this period were dropped."""
        return 0 if self.limit is None else max(0, self.used - self.limit)


@dataclass(slots=True)
class Histogram:
    """Counts of values by upper bound; the last place counts what is larger than every bound."""

    bounds: tuple[int, ...] = FANOUT_BOUNDS
    total: int = 0
    counts: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: int) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


@dataclass(slots=True)
class HubCounters:
    """Totals since the machine was made.

    `frames` and `errors` of all kinds; `received` frames by type, `messages` accepted and `copies` delivered by kind
    (publish, send, inject), `dropped` messages by reason.
    """

    frames: int = 0
    errors: int = 0
    received_bytes: int = 0
    received: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    fanout: Histogram = field(default_factory=Histogram)

    def accepted(self, kind: str, copies: int) -> None:
        """One message that goes to `copies` connections."""
        self.messages[kind] += 1
        self.copies[kind] += copies
        if kind != "send":
            self.fanout.add(copies)


def return_delays_ms(count: int, spread_s: float | None) -> list[int]:
    """When each of `count` clients is asked to come back: evenly over spread_s, from MIN_RETRY_MS on.

    None: as long as RETURNS_PER_S of them a second take. Never beyond what a client accepts.
    """
    if spread_s is None:
        spread_s = count / RETURNS_PER_S
    longest_ms = min(spread_s * 1000, RETRY_AFTER_CAP_MS - MIN_RETRY_MS)
    return [MIN_RETRY_MS + math.floor(longest_ms * index / count) for index in range(count)]
