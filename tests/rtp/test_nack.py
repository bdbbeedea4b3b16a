from __future__ import annotations

import pytest

from edge_node.rtp.nack import MAX_ASKED, MAX_PATIENCE_S, PATIENCE_S, REPEAT_S, Holes


def test_a_hole_is_asked_for_until_it_is_filled() -> None:
    holes = Holes()
    assert holes.deadline is None and holes.ask(0.0) == ()
    holes.open(5, 8, 1.0)
    assert len(holes) == 3 and holes.deadline == 1.0
    assert holes.ask(1.0) == (5, 6, 7) and holes.ask(1.0) == ()
    assert holes.deadline == 1.0 + REPEAT_S
    holes.fill(6, 1.02)
    holes.fill(6, 1.02)
    holes.fill(99, 1.02)
    assert holes.rtt_s == pytest.approx(0.02)
    assert holes.repeat_s == pytest.approx(0.03)
    assert holes.ask(1.0 + REPEAT_S) == (5, 7)
    holes.fill(5, 1.5)
    assert holes.rtt_s == pytest.approx(0.02)  # asked for twice: which question was that the answer to?
    assert holes.forget(7) == 0 and holes.forget(8) == 1 and len(holes) == 0


def test_patience_ends_and_grows_with_the_way() -> None:
    holes = Holes()
    holes.open(0, 1, 0.0)
    assert holes.expired(PATIENCE_S - 0.001) is None and holes.expired(PATIENCE_S) == 0
    holes.ask(0.0)
    for _ in range(8):
        holes.ask(holes.deadline or 0.0)
    assert holes.deadline == PATIENCE_S
    holes.fill(0, 0.3)  # asked for often, but the first thing known about the way
    assert holes.rtt_s == 0.3
    assert holes.repeat_s == pytest.approx(0.45) and holes.patience_s == pytest.approx(0.75)
    holes.open(1, 3, 1.0)
    holes.ask(1.0)
    holes.fill(1, 9.0)
    assert holes.rtt_s == pytest.approx(0.3 + 7.7 / 8) and holes.patience_s == MAX_PATIENCE_S
    holes.fill(2, 9.0)


def test_what_came_before_it_was_asked_for_tells_nothing() -> None:
    holes = Holes()
    holes.open(0, 1, 0.0)
    holes.fill(0, 0.5)
    assert holes.rtt_s is None


def test_a_question_fits_a_packet() -> None:
    holes = Holes()
    holes.open(0, MAX_ASKED + 10, 0.0)
    assert len(holes.ask(0.0)) == MAX_ASKED
    assert holes.ask(0.0) == tuple(range(MAX_ASKED, MAX_ASKED + 10))
