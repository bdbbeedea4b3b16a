"""Rates over a window."""

from __future__ import annotations

import pytest

from edge_node.encode_plan.meter import MAX_PASSED, RateMeter


def metered(seconds: float, step: float = 0.1, size: int = 1000) -> RateMeter:
    meter = RateMeter(2.0)
    for n in range(round(seconds / step)):
        meter.add(n * step, size)
    return meter


def test_nothing_passed() -> None:
    assert RateMeter().per_second(1.0) == 0.0
    assert RateMeter().kbps(1.0) == 0.0


@pytest.mark.parametrize("seconds", [1.0, 10.0])
def test_a_steady_stream(seconds: float) -> None:
    meter = metered(seconds)
    assert meter.per_second(seconds - 0.1) == pytest.approx(10, rel=0.06)
    assert meter.kbps(seconds - 0.1) == pytest.approx(80, rel=0.12)


def test_a_stopped_stream_fades() -> None:
    meter = metered(10)
    assert meter.per_second(10.9) == pytest.approx(5, abs=0.6)
    assert meter.per_second(20.0) == 0.0


def test_it_settles_within_half_a_window() -> None:
    assert not RateMeter().settled(9.0)
    assert [metered(1.0).settled(now) for now in (0.9, 1.0)] == [False, True]


def test_memory_is_bounded() -> None:
    meter = metered(1.0, step=1e-4)
    assert meter.per_second(1.0) <= MAX_PASSED
