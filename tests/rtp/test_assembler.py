from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.rtp.assembler import (
    MAX_BYTES,
    MAX_GAP,
    MAX_SPAN,
    PLI_S,
    Ask,
    AskKeyframe,
    Assembler,
    Frame,
    Output,
    Piece,
)
from edge_node.rtp.keyframes import UNKNOWN, Look
from edge_node.rtp.nack import PATIENCE_S, REPEAT_S
from tests.support.property import patient

TICKS = 3000
START, REST = Look(starts=True, key=True), Look(key=True)


class Sender:
    """Makes the packets of pictures, each with bytes that tell which it is."""

    def __init__(self, number: int = 0, timestamp: int = 0) -> None:
        self.number, self.timestamp, self.count = number, timestamp, 0
        self.pictures: list[bytes] = []

    def picture(self, packets: int = 1, key: bool = False, marker: bool = True) -> list[Piece]:
        pieces = []
        for n in range(packets):
            looks = START if key and n == 0 else REST if key else UNKNOWN
            ends = marker and n == packets - 1
            data = b"%d.%d;" % (self.count, n)
            pieces.append(Piece(self.number % 2**16, self.timestamp % 2**32, ends, data, looks))
            self.number += 1
        self.pictures.append(b"".join(p.data for p in pieces))
        self.timestamp += TICKS
        self.count += 1
        return pieces

    def padding(self) -> Piece:
        self.number += 1
        return Piece((self.number - 1) % 2**16, (self.timestamp - TICKS) % 2**32, False, b"")


def feed(assembler: Assembler, pieces: Iterable[Piece], now: float = 0.0) -> list[Output]:
    return [output for piece in pieces for output in assembler.add(piece, now)]


def shown(outputs: Iterable[Output]) -> list[bytes]:
    return [o.data for o in outputs if isinstance(o, Frame)]


def running(sender: Sender) -> Assembler:
    """One that had its first keyframe."""
    assembler = Assembler()
    assert len(shown(feed(assembler, sender.picture(3, key=True)))) == 1
    return assembler


def test_a_frame_is_complete_at_its_marker() -> None:
    sender = Sender(65_534, 2**32 - TICKS)
    assembler = Assembler()
    first = sender.picture(3, key=True)
    assert feed(assembler, first[:2]) == []
    assert assembler.add(first[2], 0.0) == [Frame(0, b"0.0;0.1;0.2;", True)]
    assert feed(assembler, sender.picture(2)) == [Frame(TICKS, b"1.0;1.1;", False)]
    assert assembler.deadline is None and assembler.tick(9.0) == []
    assert assembler.counters.frames == 2 and assembler.counters.plis == 0


def test_without_markers_the_next_timestamp_ends_a_frame() -> None:
    sender, assembler = Sender(), Assembler()
    out = feed(assembler, [*sender.picture(2, key=True, marker=False), *sender.picture(2, marker=False)])
    assert shown(out) == [b"0.0;0.1;"]
    assert shown(feed(assembler, sender.picture(1))) == [b"1.0;1.1;", b"2.0;"]


def test_a_hole_is_asked_for_and_all_that_is_ready_comes_at_once() -> None:
    sender = Sender(65_530)
    assembler = running(sender)
    lost, *rest = sender.picture(2)
    after = [*sender.picture(), *sender.picture(2)]
    assert feed(assembler, [*rest, *after], 1.0) == [Ask((lost.number,))]
    assert assembler.deadline == 1.0 + REPEAT_S
    assert assembler.tick(1.0 + REPEAT_S) == [Ask((lost.number,))]
    assert shown(assembler.add(lost, 1.06)) == sender.pictures[1:]
    assert assembler.add(lost, 1.07) == [] and assembler.deadline is None
    counters = assembler.counters
    assert (counters.holes, counters.nacks, counters.dropped, counters.given_up) == (1, 2, 1, 0)
    assert assembler.rtt_s == pytest.approx(0.06)


def test_reordered_and_doubled_packets() -> None:
    sender = Sender()
    assembler = running(sender)
    a, b, c = (sender.picture()[0] for _ in range(3))
    assert shown(feed(assembler, [b, b, a, c, a])) == sender.pictures[1:]
    assert assembler.counters.dropped == 2


def test_a_hole_is_given_up_and_nothing_is_shown_before_a_keyframe() -> None:
    sender = Sender()
    assembler = running(sender)
    sender.picture()
    assert shown(feed(assembler, sender.picture(2), 1.0)) == []
    out = assembler.tick(1.0 + PATIENCE_S)
    assert out == [AskKeyframe()] and assembler.counters.given_up == 1 and assembler.counters.skipped == 1
    assert feed(assembler, sender.picture(2), 1.5) == []  # asked for 0.1 s ago
    assert assembler.deadline == 1.0 + PATIENCE_S + PLI_S
    assert assembler.tick(1.0 + PATIENCE_S + PLI_S) == [AskKeyframe()]
    assert assembler.deadline is None  # nobody there to ask
    key = sender.picture(2, key=True)
    assert assembler.add(key[0], 2.0) == []  # it is under way: not asked for again
    assert shown([*assembler.add(key[1], 2.5), *feed(assembler, sender.picture(), 2.5)]) == sender.pictures[-2:]
    assert assembler.counters.plis == 2


def test_the_newest_complete_keyframe_is_taken() -> None:
    sender = Sender()
    assembler = running(sender)
    sender.picture()
    old, new, next_ = sender.picture(2, key=True), sender.picture(2, key=True), sender.picture()
    assert shown(feed(assembler, [*old, *new, *next_], 1.0)) == []
    assert shown(assembler.tick(1.0 + PATIENCE_S)) == sender.pictures[-2:]
    assert (assembler.counters.given_up, assembler.counters.plis) == (1, 0)


def test_a_complete_keyframe_between_two_holes_is_shown() -> None:
    sender = Sender()
    assembler = running(sender)
    sender.picture()
    key = sender.picture(2, key=True)
    sender.picture()
    last = sender.picture()
    assert shown(feed(assembler, [*key, *last], 1.0)) == []
    out = assembler.tick(1.0 + PATIENCE_S)
    assert shown(out) == [sender.pictures[2]] and out[-1] == AskKeyframe() and assembler.counters.given_up == 2


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_hole_inside_a_keyframe(lost: int) -> None:
    """Also when it is the very first one."""
    sender = Sender()
    assembler = Assembler()
    key = sender.picture(3, key=True)
    del key[lost]
    out = [*feed(assembler, [*key, *sender.picture(2)], 1.0), *assembler.tick(1.0 + PATIENCE_S)]
    assert shown(out) == [] and AskKeyframe() in out
    assert shown(feed(assembler, sender.picture(2), 2.0)) == []
    assert shown(feed(assembler, [*sender.picture(3, key=True), *sender.picture()], 2.0)) == sender.pictures[-2:]


def test_a_keyframe_is_known_to_be_whole() -> None:
    sender = Sender()
    assembler = running(sender)
    before, key = sender.picture(2), sender.picture(2, key=True)
    whole = Piece(key[0].number, key[0].timestamp, False, key[0].data, REST)  # it does not say that it starts
    assert shown(feed(assembler, [before[1], whole, key[1]], 1.0)) == []
    assert shown(assembler.tick(1.0 + PATIENCE_S)) == sender.pictures[-1:]  # but the one before it ended
    sender.picture()
    key = sender.picture(2, key=True, marker=False)
    assert shown(feed(assembler, key, 2.0)) == []
    assert shown(assembler.tick(2.0 + PATIENCE_S)) == []
    assert shown(feed(assembler, sender.picture(2, key=True), 3.0)) == sender.pictures[-2:]  # ended by the next


def test_a_keyframe_ended_by_the_next_timestamp() -> None:
    sender = Sender()
    assembler = running(sender)
    sender.picture()
    key = sender.picture(2, key=True, marker=False)
    assert shown(feed(assembler, [*key, *sender.picture()], 1.0)) == []
    assert shown(assembler.tick(1.0 + PATIENCE_S)) == sender.pictures[-2:]


def test_who_joins_in_the_middle_asks_once() -> None:
    sender, assembler = Sender(), Assembler()
    out = feed(assembler, [*sender.picture(3), *sender.picture(), *sender.picture()])
    assert out == [AskKeyframe()] and assembler.counters.skipped == 3


def test_a_decoder_that_failed_gets_a_keyframe_next() -> None:
    sender = Sender()
    assembler = running(sender)
    assert assembler.refuse(1.0) == [AskKeyframe()] and assembler.refuse(1.1) == []
    assert shown(feed(assembler, sender.picture(), 1.1)) == []
    assert shown(feed(assembler, sender.picture(2, key=True), 1.1)) == sender.pictures[-1:]


def test_padding_makes_no_frame() -> None:
    sender = Sender()
    assembler = running(sender)
    out = feed(assembler, [sender.padding(), sender.padding(), *sender.picture(2), *sender.picture()])
    assert shown(out) == sender.pictures[1:]


def test_a_sender_that_marks_every_part_of_a_picture() -> None:
    sender = Sender()
    assembler = running(sender)

    def marked(key: bool) -> Iterator[Piece]:
        for p in sender.picture(3, key):
            yield Piece(p.number, p.timestamp, True, p.data, p.look)

    assert len(shown(feed(assembler, marked(key=True)))) > 1  # nobody can know at first
    feed(assembler, marked(key=True))
    assert shown(feed(assembler, [*marked(key=False), *marked(key=False)])) == sender.pictures[2:4]


def test_a_long_silence_is_not_asked_for() -> None:
    sender = Sender()
    assembler = running(sender)
    sender.number += MAX_GAP + 1
    assert feed(assembler, sender.picture(), 5.0) == [AskKeyframe()]
    assert assembler.counters.holes == MAX_GAP + 1 and assembler.counters.given_up == 1
    assert shown(feed(assembler, sender.picture(key=True), 5.0)) == sender.pictures[-1:]


@pytest.mark.parametrize("by_number", [True, False])
def test_a_sender_that_starts_anew(by_number: bool) -> None:
    sender = Sender(10_000)
    assembler = running(sender)
    other = Sender(200 if by_number else 10_003, 77_777)
    if not by_number:
        assembler.restart()
    out = feed(assembler, [*other.picture(2, key=True), *other.picture()])
    assert [(f.ticks, f.data) for f in out if isinstance(f, Frame)] == [
        (TICKS, other.pictures[0]),
        (2 * TICKS, other.pictures[1]),
    ]


def test_what_waits_is_bounded() -> None:
    sender = Sender()
    assembler = running(sender)
    sender.picture()
    out: list[Output] = []
    for _ in range(MAX_SPAN + 5):
        out += assembler.add(sender.picture()[0], 1.0)
        assert len(assembler._packets) <= MAX_SPAN and len(assembler._holes) <= MAX_SPAN
    assert shown(out) == [] and out[-1] == AskKeyframe() and len(assembler._packets) == 0
    big = Piece(sender.number % 2**16, 5, False, bytes(MAX_BYTES + 1), START)
    assembler.add(big, 2.0)
    assert assembler._bytes == 0


def test_a_keyframe_that_waits_is_taken_when_it_gets_too_much() -> None:
    sender = Sender()
    assembler = running(sender)
    sender.picture()
    out = feed(assembler, sender.picture(2, key=True), 1.0)
    while not shown(out):
        out += feed(assembler, sender.picture(), 1.0)
    assert shown(out) == sender.pictures[2:]


def luckily(luck: random.Random, pieces: list[Piece], loss: float) -> list[Piece]:
    """Some lost, some twice, some late."""
    copies = [p for p in pieces for _ in range(0 if luck.random() < loss else luck.choice((1, 1, 1, 1, 2)))]
    return [p for _, p in sorted(enumerate(copies), key=lambda at: at[0] + luck.choice((0, 0, 0, 0, 0, 2.5, 9.5)))]


@patient
@given(
    seed=st.integers(0, 10_000),
    start=st.integers(0, 65_535),
    loss=st.sampled_from((0.0, 0.02, 0.3)),
    repaired=st.booleans(),
)
def test_any_order_any_loss(seed: int, start: int, loss: float, repaired: bool) -> None:
    """Frames are whole, in order, never after a hole before a keyframe; at the end pictures flow again."""
    luck = random.Random(seed)
    sender, assembler = Sender(start, luck.randrange(2**32)), Assembler()
    keys: list[bool] = []
    pieces: list[Piece] = []
    for _ in range(60):
        keys.append(luck.random() < 0.1 or not keys)
        pieces += sender.picture(luck.randint(1, 6), keys[-1], marker=luck.random() < 0.97)
    by_number = {p.number: p for p in pieces}
    out: list[Output] = []
    now = 0.0
    for piece in luckily(luck, pieces, loss):
        now += luck.choice((0.0, 0.005, 0.03))
        out += assembler.add(piece, now)
        while (deadline := assembler.deadline) is not None and deadline <= now:
            out += assembler.tick(now)
        for asked in [n for o in out if isinstance(o, Ask) for n in o.numbers] if repaired else []:
            out += assembler.add(by_number[asked], now)
        out = [o for o in out if not isinstance(o, Ask)]
        assert len(assembler._packets) <= MAX_SPAN
        assert assembler._bytes == sum(len(p.data) for p in assembler._packets.values())
    end = [*sender.picture(4, key=True), *(p for _ in range(3) for p in sender.picture(2))]
    keys += [True, False, False, False]
    out += [*feed(assembler, end, now + 1), *assembler.tick(now + 2)]
    check(sender, keys, [o for o in out if isinstance(o, Frame)])


def check(sender: Sender, keys: list[bool], frames: list[Frame]) -> None:
    known = {data: n for n, data in enumerate(sender.pictures)}
    order = [known[frame.data] for frame in frames]
    assert order == sorted(set(order))
    for before, n, frame in zip([-2, *order], order, frames, strict=False):
        assert frame.key == keys[n]
        assert frame.key or before == n - 1
    assert [f.ticks - frames[0].ticks for f in frames] == [(n - order[0]) * TICKS for n in order]
    assert order[-3:] == list(range(len(sender.pictures) - 3, len(sender.pictures)))
