from __future__ import annotations

import pytest

from edge_node.rtp.nack import (
    HURRY,
    MAX_ASKED,
    MAX_PATIENCE_S,
    MIN_HURRY_S,
    PATIENCE_S,
    REPAIRS,
    REPEAT_PER_RTT,
    REPEAT_S,
    Holes,
)


def repaired(holes: Holes, number: int, took_s: float, now: float = 100.0) -> None:
    """One hole, asked for once, that its repair fills."""
    holes.open(number, number + 1, now)
    assert number in holes.ask(now)
    holes.fill(number, now + took_s, repair=True)


def test_a_hole_is_asked_for_until_it_is_filled() -> None:
    holes = Holes()
    assert holes.deadline is None and holes.ask(0.0) == ()
    holes.open(5, 8, 1.0)
    assert len(holes) == 3 and holes.deadline == 1.0
    assert holes.ask(1.0) == (5, 6, 7) and holes.ask(1.0) == ()
    assert holes.deadline == 1.0 + REPEAT_S
    holes.fill(6, 1.1, repair=True)
    holes.fill(6, 1.1, repair=True)
    holes.fill(99, 1.1, repair=True)
    assert holes.rtt_s == pytest.approx(0.1) and holes.repeat_s == pytest.approx(0.1 * REPEAT_PER_RTT)
    assert holes.ask(1.11) == () and holes.ask(1.13) == (5, 7)
    holes.fill(5, 1.5, repair=True)
    assert holes.forget(7) == 0 and holes.forget(8) == 1 and len(holes) == 0


def test_patience_ends_and_grows_with_the_way() -> None:
    holes = Holes()
    holes.open(0, 1, 0.0)
    assert holes.expired(PATIENCE_S - 0.001) is None and holes.expired(PATIENCE_S) == 0
    holes.ask(0.0)
    for _ in range(8):
        holes.ask(holes.deadline or 0.0)
    assert holes.deadline == PATIENCE_S
    holes.fill(0, 0.3, repair=True)
    assert holes.rtt_s == 0.3 and holes.patience_s == pytest.approx(0.75)
    repaired(holes, 1, 8.0)
    repaired(holes, 2, 8.0)
    assert holes.rtt_s == 8.0 and holes.patience_s == MAX_PATIENCE_S


def test_a_repetition_that_is_not_answered_is_repeated_soon() -> None:
    holes = Holes()
    repaired(holes, 0, 0.1)
    holes.open(1, 2, 0.0)
    holes.ask(0.0)
    asked = [holes.deadline or 0.0]
    while len(asked) < 4:
        holes.ask(asked[-1])
        asked.append(holes.deadline or 0.0)
    repeat_s = 0.1 * REPEAT_PER_RTT
    assert asked == pytest.approx([repeat_s * (1 + HURRY * n) for n in range(4)])


def test_a_near_sender_is_not_flooded() -> None:
    holes = Holes()
    repaired(holes, 0, 0.001)
    holes.open(1, 2, 0.0)
    holes.ask(0.0)
    first = holes.deadline or 0.0
    holes.ask(first)
    assert holes.deadline == pytest.approx(first + MIN_HURRY_S) and first > MIN_HURRY_S


def test_what_came_without_being_asked_for_tells_nothing() -> None:
    holes = Holes()
    holes.open(0, 2, 0.0)
    holes.fill(0, 0.5, repair=True)
    holes.ask(0.5)
    holes.fill(1, 0.501, repair=False)  # late, when it had been asked for already
    assert holes.rtt_s is None


def test_lost_repairs_do_not_make_the_way_longer() -> None:
    holes = Holes()
    for number in range(30):
        repaired(holes, number, 0.25 if number % 2 else 0.1)
    assert holes.rtt_s == pytest.approx(0.1)


def test_a_way_that_became_longer_is_found_out() -> None:
    """Although all questions are repeated before their answers come."""
    holes = Holes()
    for number in range(REPAIRS):
        repaired(holes, number, 0.02)
    for number in range(REPAIRS, 2 * REPAIRS):
        holes.open(number, number + 1, 0.0)
        holes.ask(0.0)
        while (holes.deadline or 1.0) < 0.3:
            holes.ask(holes.deadline or 0.0)
        holes.fill(number, 0.3, repair=True)
    assert holes.rtt_s == pytest.approx(0.3)


def test_a_question_fits_a_packet() -> None:
    holes = Holes()
    holes.open(0, MAX_ASKED + 10, 0.0)
    assert len(holes.ask(0.0)) == MAX_ASKED
    assert holes.ask(0.0) == tuple(range(MAX_ASKED, MAX_ASKED + 10))
