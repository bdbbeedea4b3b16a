from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.protocol.backoff import Backoff, BackoffPolicy
from tests.support.property import patient


def test_delays_grow_to_the_cap() -> None:
    backoff = Backoff(BackoffPolicy())
    assert [backoff.delay(0.5) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]


def test_jitter_spreads_both_ways_after_the_cap() -> None:
    assert Backoff(BackoffPolicy(initial_s=10)).delay(0.0) == pytest.approx(8)
    assert Backoff(BackoffPolicy(initial_s=30)).delay(1.0) == pytest.approx(36)


def test_a_floor_counts_once_and_before_jitter() -> None:
    backoff = Backoff(BackoffPolicy())
    assert backoff.delay(0.0, floor_s=30) == pytest.approx(24)
    assert backoff.delay(0.5) == 1.0


def test_attempts_are_limited() -> None:
    backoff = Backoff(BackoffPolicy(max_attempts=2))
    assert [backoff.delay(0.5), backoff.delay(0.5), backoff.delay(0.5)] == [0.5, 1.0, None]


def test_only_a_stable_connection_starts_the_schedule_over() -> None:
    backoff = Backoff(BackoffPolicy(stable_s=30))
    backoff.delay(0.5)
    backoff.connected(100)
    backoff.lost(129)
    assert backoff.delay(0.5) == 1.0
    backoff.connected(200)
    backoff.lost(230)
    assert backoff.delay(0.5) == 0.5
    backoff.lost(1000)  # never connected since
    assert backoff.attempts == 1


@patient
@given(st.lists(st.floats(0, 1), max_size=2000))
def test_delays_stay_within_bounds(draws: list[float]) -> None:
    backoff = Backoff(BackoffPolicy(max_attempts=math.inf))
    for jitter in draws:
        delay = backoff.delay(jitter)
        assert delay is not None and 0.4 <= delay <= 36.0
