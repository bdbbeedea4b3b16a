"""What is left of the echo is measured, and judged."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp.echo_return import KEPT_SEGMENTS, LEARNING_SEGMENTS, EchoReturn
from edge_node.dsp.pcm import Pcm

LOUD = np.full(480, 3000, np.int16)
SOFT = np.full(480, 200, np.int16)
FAINT = np.full(480, 20, np.int16)
NOTHING = np.zeros(480, np.int16)


def feed(measure: EchoReturn, captured: Pcm, cleaned: Pcm, segments: int, played: Pcm = LOUD) -> None:
    for _ in range(10 * segments):
        measure.feed(captured, cleaned, played, 0.0)


def test_it_is_the_ratio_of_the_powers() -> None:
    measure = EchoReturn()
    assert measure.db is None
    feed(measure, LOUD, SOFT, 1)
    assert measure.db == pytest.approx(23.5, abs=0.1)


def test_only_what_comes_back_counts() -> None:
    measure = EchoReturn()
    feed(measure, LOUD, SOFT, 3, played=NOTHING)
    assert measure.db is None, "that was somebody talking"
    for _ in range(20):
        measure.feed(LOUD, SOFT, LOUD, 150.0)
    assert measure.db is None, "nothing of it can have come back yet"
    for _ in range(10):
        measure.feed(LOUD, SOFT, LOUD, 150.0)
    assert measure.db == pytest.approx(23.5, abs=0.1)


def test_a_canceller_is_trusted_once_it_works_and_until_it_fails_for_long() -> None:
    measure = EchoReturn()
    feed(measure, LOUD, LOUD, LEARNING_SEGMENTS)
    assert not measure.trusted
    feed(measure, LOUD, SOFT, LEARNING_SEGMENTS)
    assert measure.trusted
    for _ in range(10):  # somebody talks into two thirds of the echo
        feed(measure, LOUD, LOUD, 2)
        feed(measure, LOUD, SOFT, 1)
    assert measure.trusted
    feed(measure, LOUD, LOUD, KEPT_SEGMENTS)
    assert not measure.trusted
    feed(measure, LOUD, SOFT, KEPT_SEGMENTS)
    assert measure.trusted
    measure.forget()
    assert not measure.trusted and measure.db is None


def test_where_there_is_no_echo_there_is_nothing_to_prove() -> None:
    measure = EchoReturn()
    feed(measure, FAINT, FAINT, LEARNING_SEGMENTS)
    assert measure.trusted
    assert measure.db is None
    feed(measure, FAINT, FAINT, 2 * KEPT_SEGMENTS)
    assert measure.trusted
