"""Pictures over a path that loses packets both ways: sender and receiver on one steered clock, many minutes at once."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest

from edge_node.rtp.assembler import Ask, Assembler, Frame, Output, Piece
from edge_node.rtp.budget import Budget, Repeats, is_wanted
from edge_node.rtp.history import Burst, History
from edge_node.rtp.keyframes import look
from edge_node.rtp.packetize import Cut, h264

FPS, TICKS, KBPS = 30, 3000, 2000
RUN_S = 35.0
JITTER_S = 0.002
PICTURE = bytes(range(1, 256)) * 160
START = b"\0\0\0\1"


@dataclass
class Way:
    """One direction; packets keep their order, but for those that are late."""

    luck: random.Random
    delay_s: float
    loss: float = 0.0
    late: float = 0.0
    late_s: float = 0.012
    last_at: float = 0.0

    def arrival(self, now: float) -> float | None:
        """When a packet that leaves now comes; None: never."""
        if self.luck.random() < self.loss:
            return None
        at = now + self.delay_s + self.luck.random() * JITTER_S
        if self.luck.random() < self.late:
            return at + self.late_s
        self.last_at = at = max(at, self.last_at + 1e-6)
        return at


@dataclass
class Call:
    """A sender and a receiver; `polite`: the sender has our budget and answers a question once a round trip."""

    seed: int
    rtt_s: float = 0.02
    loss: float = 0.05
    late: float = 0.01
    repairs: bool = True
    polite: bool = True
    now: float = 0.0
    sent: dict[bytes, int] = field(default_factory=dict)
    """The number of each picture, by its bytes on the wire."""
    keys: set[int] = field(default_factory=set)
    shown: list[tuple[float, int]] = field(default_factory=list)
    """When a picture was complete, its number."""
    media_bytes: int = 0
    resent_bytes: int = 0

    def __post_init__(self) -> None:
        self._luck = random.Random(self.seed)
        self._down = Way(self._luck, self.rtt_s / 2, self.loss, self.late)
        self._up = Way(self._luck, self.rtt_s / 2, self.loss, self.late)
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._number = self._luck.getrandbits(15)
        self._group, self._key_at, self._key_wanted = 0, 0.0, True
        self._history, self._budget, self._repeats = History(), Budget(), Repeats()
        self.assembler = Assembler()

    def run(self) -> Call:
        for index in range(int(RUN_S * FPS)):
            self._at(index / FPS, self._picture, index)
        while self._queue and self._queue[0][0] <= RUN_S:
            self.now, _, happens, args = heapq.heappop(self._queue)
            happens(*args)
        return self

    @property
    def gaps(self) -> list[float]:
        """Seconds from each picture to the next."""
        return [b - a for (a, _), (b, _) in pairwise(self.shown)]

    def _at(self, when: float | None, happens: Callable[..., None], *args: Any) -> None:
        if when is not None:
            heapq.heappush(self._queue, (when, next(self._order), happens, args))

    # The sender

    def _picture(self, index: int) -> None:
        key, self._key_wanted = self._key_wanted, False
        size = int(KBPS * 125 / FPS * (4 if key else self._luck.uniform(0.4, 1.6)))
        coded = (b"\x67\x42" + START + b"\x65" if key else b"\x41") + b"%d" % index + PICTURE[:size]
        cut = Cut(h264(START + coded))
        self.sent[b"".join(cut.payloads)] = index
        if key:
            self._group, self._key_at = self._group + 1, self.now
            self.keys.add(index)
        burst = Burst(self._number, 0, len(cut.payloads), cut, index * TICKS, b"", self.now, self._group)
        self._number += len(cut.payloads)
        self._history.add(burst)
        self._budget.earn(cut.size, KBPS, None)
        self.media_bytes += cut.size
        for packet in range(len(cut.payloads)):
            self._at(self._down.arrival(self.now), self._arrive, piece(burst, packet, repair=False))

    def _asked(self, numbers: tuple[int, ...]) -> None:
        for number in numbers:
            found = self._history.find(number)
            if found is not None and self.repairs and (not self.polite or self._may_repair(*found)):
                burst, index = found
                self.resent_bytes += len(burst.cut.payloads[index])
                self._at(self._down.arrival(self.now), self._arrive, piece(burst, index, repair=True))

    def _may_repair(self, burst: Burst, index: int) -> bool:
        key_age_s = self.now - self._key_at if burst.group < self._group else None
        return (
            is_wanted(key_age_s, self.rtt_s)
            and self._repeats.is_new(burst.first + index, self.now, self.rtt_s)
            and self._budget.spend(len(burst.cut.payloads[index]))
        )

    def _asked_for_keyframe(self) -> None:
        self._key_wanted = True

    # The receiver

    def _arrive(self, came: Piece) -> None:
        self._do(self.assembler.add(came, self.now))

    def _due(self) -> None:
        deadline = self.assembler.deadline
        if deadline is not None and deadline <= self.now:
            self._do(self.assembler.tick(self.now))

    def _do(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case Frame(data=data):
                    assert data in self.sent, "a picture that nobody sent"
                    self.shown.append((self.now, self.sent[data]))
                case Ask(numbers):
                    self._at(self._up.arrival(self.now), self._asked, numbers)
                case _:
                    self._at(self._up.arrival(self.now), self._asked_for_keyframe)
        deadline = self.assembler.deadline
        if deadline is not None:
            self._at(max(deadline, self.now), self._due)


def piece(burst: Burst, index: int, *, repair: bool) -> Piece:
    payload = burst.cut.payloads[index]
    ends = index == len(burst.cut.payloads) - 1
    return Piece((burst.first + index) % 2**16, burst.timestamp, ends, payload, look("H264", payload), repair)


def calls(count: int, **settings: Any) -> list[Call]:
    return [Call(seed, **settings).run() for seed in range(count)]


def asked_per_hole(found: list[Call]) -> float:
    return sum(c.assembler.counters.nacks for c in found) / sum(c.assembler.counters.holes for c in found)


def resent_share(found: list[Call]) -> float:
    return sum(c.resent_bytes for c in found) / sum(c.media_bytes for c in found)


def test_5_percent_lost_both_ways_never_freeze_the_picture() -> None:
    found = calls(20)
    gaps = sorted(gap for call in found for gap in call.gaps)
    assert len(gaps) > 20 * RUN_S * FPS * 0.999 - 40
    assert gaps[-1] < 0.2 and gaps[len(gaps) * 999 // 1000] < 0.13
    for call in found:
        count = call.assembler.counters
        assert count.given_up == 0
        assert count.plis <= 1, "one more keyframe only where the first packet of all was lost"
        assert call.assembler.rtt_s == pytest.approx(call.rtt_s + JITTER_S, abs=JITTER_S)
    assert resent_share(found) < 0.08 and asked_per_hole(found) < 1.4


def test_twice_as_many_losses() -> None:
    found = calls(5, loss=0.1)
    assert max(gap for call in found for gap in call.gaps) < 0.25
    assert resent_share(found) < 0.15


@pytest.mark.parametrize("rtt_s", [0.005, 0.1, 0.3])
def test_a_sender_that_answers_every_question(rtt_s: float) -> None:
    """Like aiortc's own: what it is asked for too often costs the path."""
    found = calls(2, rtt_s=rtt_s, polite=False)
    assert resent_share(found) < 0.1


def test_late_packets_do_not_hide_how_far_the_sender_is() -> None:
    found = calls(3, rtt_s=0.1, loss=0.01, late=0.05)
    for call in found:
        assert call.assembler.rtt_s == pytest.approx(0.1 + JITTER_S, abs=JITTER_S)
    assert asked_per_hole(found) < 1.1


def test_without_repairs_pictures_go_on_with_keyframes() -> None:
    for call in calls(3, loss=0.005, repairs=False):
        assert call.assembler.counters.given_up > 3
        shown = [number for _, number in call.shown]
        assert shown[0] in call.keys
        assert all(b == a + 1 or (b > a and b in call.keys) for a, b in pairwise(shown))
