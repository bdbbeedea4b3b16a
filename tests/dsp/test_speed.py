"""The speed follows a drifting clock, smoothly, within its limits."""

from __future__ import annotations

import pytest

from edge_node.dsp.pcm import RATE
from edge_node.dsp.speed import MAX_DRIFT_PPM, MAX_PPM, SpeedControl

BLOCK = RATE // 100


def run(speed: SpeedControl, seconds: float, drift_ppm: float, error: float = 0.0) -> tuple[float, int]:
    """The error at the end, and the samples taken on top."""
    extra = 0
    for _ in range(int(seconds * 100)):
        error += BLOCK * drift_ppm * 1e-6
        step = speed.step(round(error), BLOCK)
        assert step in (-1, 0, 1)
        error -= step
        extra += step
    return error, extra


@pytest.mark.parametrize("drift_ppm", [-200.0, -20.0, 0.0, 100.0, 500.0])
def test_a_drift_is_learnt_and_leaves_no_error(drift_ppm: float) -> None:
    speed = SpeedControl()
    error, extra = run(speed, 300, drift_ppm)
    assert abs(error) < 0.002 * RATE
    assert speed.ppm == pytest.approx(drift_ppm, abs=30)
    assert extra == pytest.approx(300 * RATE * drift_ppm * 1e-6, abs=0.01 * RATE)


def test_it_never_goes_beyond_its_limits() -> None:
    speed = SpeedControl()
    _, extra = run(speed, 10, 5000)
    assert speed.ppm == MAX_PPM
    assert extra <= 10 * RATE * MAX_PPM * 1e-6
    speed = SpeedControl()
    run(speed, 600, -900)
    assert speed.ppm >= -MAX_PPM
    assert speed.ppm <= -MAX_DRIFT_PPM


def test_a_change_on_purpose_is_no_error_any_more() -> None:
    speed = SpeedControl()
    run(speed, 30, 0, error=0.02 * RATE)
    before = speed.error
    speed.shifted(-100)
    assert speed.error == pytest.approx(before - 100)
    speed.settle()
    assert speed.error == 0
