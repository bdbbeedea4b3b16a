"""When keyframes and pictures are made."""

from __future__ import annotations

import pytest

from edge_node.encode_plan.pace import FrameLimiter, KeyframeWindow


def test_the_first_asker_gets_a_keyframe_at_once() -> None:
    assert KeyframeWindow().ask(5.0) == 0.0


def test_askers_inside_a_window_share_one_keyframe_at_its_end() -> None:
    window = KeyframeWindow(0.3)
    assert window.ask(1.0) == 0.0
    assert window.ask(1.0) is None
    window.renew(1.0)
    assert window.ask(1.1) == pytest.approx(0.2)
    assert window.ask(1.2) is None
    window.renew(1.3)
    assert window.ask(9.0) == 0.0


def taken(fps: float, times: list[float]) -> int:
    limiter = FrameLimiter(fps)
    return sum(limiter.take(time) for time in times)


@pytest.mark.parametrize(("source_fps", "expected"), [(60, 30), (45, 30), (30, 30), (15, 15)])
def test_a_faster_source_is_thinned(source_fps: int, expected: int) -> None:
    seconds = 4
    count = taken(30, [n / source_fps for n in range(source_fps * seconds)])
    assert abs(count - expected * seconds) <= 4


def test_jitter_costs_nothing() -> None:
    times = [n / 30 + (0.009 if n % 2 else 0) for n in range(120)]
    assert taken(30, times) == 120


def test_a_gap_is_not_made_up_for() -> None:
    limiter = FrameLimiter(10)
    assert limiter.take(0.0)
    assert limiter.take(5.0)
    assert not limiter.take(5.01)
