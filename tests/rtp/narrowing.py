"""A path that narrows, as a model on a steered clock: encoder, sender, queue, browser; nothing of it waits."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from edge_node.encode_plan.bitrate import BitrateControl
from edge_node.rtp.flight import Flight
from edge_node.rtp.history import Burst, History
from edge_node.rtp.packetize import Cut
from tests.support.link import Path

FPS = 30
CEILING_KBPS = 2000
SETTLED_S = 10.0
"""Until then the path is wide: the stream has climbed, the browser's estimate stands at half as much again."""
PACKET_BYTES = 1200
HEADERS_BYTES = 38
BACK_S = 0.01
REPORT_S = 0.2
GREW_S, NOTICED_S = 0.02, 0.15
"""So much later than before, for so long: Chromium says that its path is overused. Seen 0.27 to 0.39 s after a fall."""
# What libx264 was seen to do after a change of its rate: each picture goes this far towards the new size.
FOLLOWS = 0.25
SCENE_FACTOR = 2.3
"""A picture that has nothing in common with the one before, in ordinary pictures: the bench's clip begins again."""


@dataclass
class Encoder:
    """Pictures of about the size asked for, `scenes` at these times."""

    scenes: tuple[float, ...] = ()
    size: float = CEILING_KBPS * 125 / FPS
    scene: int = 0

    def picture(self, kbps: int, now: float) -> int:
        self.size += (kbps * 125 / FPS - self.size) * FOLLOWS
        if self.scene < len(self.scenes) and now >= self.scenes[self.scene]:
            self.scene += 1
            return int(self.size * SCENE_FACTOR)
        return int(self.size)


@dataclass
class Browser:
    """Shows pictures in order, estimates like Chromium: 0.85 of what came in a second once delays have grown."""

    kbps: float = CEILING_KBPS * 1.5
    got: set[int] = field(default_factory=set)
    arrived: deque[tuple[float, int, float]] = field(default_factory=deque)
    next_number: int = 0
    highest: int = -1
    shown: list[float] = field(default_factory=list)

    def packet(self, number: int, size: int, sent_at: float, now: float, marks: dict[int, float]) -> list[int]:
        """The numbers that are missed, at the first packet behind them."""
        missed = list(range(self.highest + 1, number))
        self.highest = max(self.highest, number)
        self.got.add(number)
        self.arrived.append((now, size, now - sent_at))
        while self.arrived[0][0] < now - 1.0:
            self.arrived.popleft()
        while self.next_number in self.got:
            if self.next_number in marks:
                self.shown.append(now)
            self.next_number += 1
        return missed

    def report(self, now: float) -> int:
        """The estimate (REMB), in kbit/s."""
        incoming = sum(size for at, size, _ in self.arrived if at >= now - 1.0) / 125
        first = self.arrived[0][2]
        late = [at for at, _, delay in self.arrived if delay > first + GREW_S]
        if late and now - late[0] >= NOTICED_S and self.arrived[-1][2] > self.arrived[-8][2]:
            self.kbps = min(self.kbps, 0.85 * incoming)
        elif not late:
            self.kbps = min(self.kbps * 1.016, 1.5 * incoming + 10)
        return int(self.kbps)


@dataclass
class Run:
    """`per_second` pictures are shown in the seconds after the path narrowed; `most_s` is the longest pause."""

    per_second: list[int]
    most_s: float
    overflowed: int
    resent: int


class Narrowing:
    """One run: `phase_s` is when in its round the browser reports, `cap` is what a sender makes of an estimate."""

    def __init__(
        self, to_kbps: int, phase_s: float, scenes: tuple[float, ...] = (), *, uses_flight: bool = True,
        queue_bytes: int = 50_000,
    ) -> None:  # fmt: skip
        self.path = Path(delay_ms=10, rate_kbps=20_000, queue_bytes=queue_bytes)
        self.to_kbps = to_kbps
        self.encoder = Encoder(tuple(SETTLED_S + at for at in scenes))
        self.browser = Browser()
        self.control = BitrateControl(100, CEILING_KBPS)
        self.history = History()
        self.flight = Flight(self.history)
        self.cap: Callable[[int], int] = self.flight.carries if uses_flight else lambda kbps: kbps
        self.phase_s = phase_s
        self.number = 0
        self.sent_bytes = 0
        self.resent = 0
        self.marks: dict[int, float] = {}
        self.sizes: dict[int, int] = {}
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0

    def at(self, when: float, call: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, self._count, call))

    def run(self, seconds: int) -> Run:
        self.control.begin(0.0)
        self.at(0.0, self.picture)
        self.at(5.0 + self.phase_s, self.report)
        end = SETTLED_S + seconds
        narrowed = False
        while self._events[0][0] < end:
            now, _, call = heapq.heappop(self._events)
            if not narrowed and now >= SETTLED_S:
                narrowed = True
                self.path.set(rate_kbps=self.to_kbps)
            call(now)
        shown = [at - SETTLED_S for at in self.browser.shown if at >= SETTLED_S - 0.1]
        gaps = [later - earlier for earlier, later in zip(shown, [*shown[1:], float(seconds)], strict=True)]
        counts = [sum(1 for at in shown if second <= at < second + 1) for second in range(seconds)]
        return Run(counts, max(gaps), self.path.counters.overflowed, self.resent)

    def picture(self, now: float) -> None:
        size = self.encoder.picture(self.control.target_kbps(now), now)
        count = max(1, -(-size // PACKET_BYTES))
        payloads = [bytes(size // count)] * count
        for index in range(count):
            self.sizes[self.number + index] = size // count
            self.send(self.number + index, now)
        self.history.add(Burst(self.number, 0, count, Cut(payloads), 0, b"", now, 0))
        self.number += count
        self.marks[self.number - 1] = now
        self.sent_bytes += size // count * count
        self.at(now + 1 / FPS, self.picture)

    def send(self, number: int, now: float) -> None:
        size = self.sizes[number] + HEADERS_BYTES
        there = self.path.admit(bytes(size), now)
        if there is not None:
            self.at(there, lambda at: self.arrive(number, size, now, at))

    def arrive(self, number: int, size: int, sent_at: float, now: float) -> None:
        for missed in self.browser.packet(number, size, sent_at, now, self.marks):
            self.at(now + BACK_S, lambda at, missed=missed: self.resend(missed, at))  # type: ignore[misc]

    def resend(self, number: int, now: float) -> None:
        self.resent += 1
        self.send(number, now)

    def report(self, now: float) -> None:
        kbps, highest = self.browser.report(now), self.browser.highest
        self.at(now + BACK_S, lambda at: self.told(kbps, highest, at))
        self.at(now + REPORT_S, self.report)

    def told(self, kbps: int, highest: int, now: float) -> None:
        self.flight.heard(highest & 0xFFFF, self.sent_bytes, now)
        self.control.path_carries(self.cap(kbps))
