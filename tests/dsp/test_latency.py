"""Buffers grow with what goes wrong, and shrink when all is well."""

from __future__ import annotations

from edge_node.dsp.latency import LatencySteps


def test_faults_close_together_ask_for_the_next_step() -> None:
    steps = LatencySteps((1, 2, 3), tolerated=2, window_s=10.0)
    assert [steps.fault(now) for now in (0.0, 1.0, 2.0)] == [False, False, True]
    assert steps.value == 2
    assert [steps.fault(now) for now in (3.0, 4.0, 5.0)] == [False, False, True]
    assert [steps.fault(now) for now in (6.0, 7.0, 8.0, 9.0)] == [False] * 4, "there is no larger one"
    assert steps.value == 3


def test_faults_far_apart_are_borne() -> None:
    steps = LatencySteps((1, 2), tolerated=2, window_s=10.0)
    assert not any(steps.fault(now) for now in (0.0, 6.0, 12.0, 18.0, 24.0))
    assert steps.value == 1


def test_after_a_calm_time_a_smaller_one_is_tried_and_after_a_relapse_later() -> None:
    steps = LatencySteps((1, 2), tolerated=0, calm_s=30.0)
    assert not steps.calm(0.0), "nothing to go back to"
    assert steps.fault(1.0)
    assert not steps.calm(60.0)
    assert steps.calm(61.0)
    assert steps.value == 1
    assert steps.fault(62.0)
    assert not steps.calm(62.0 + 119.0)
    assert steps.calm(62.0 + 120.0)
