"""Deadlines neither drift nor burst."""

from __future__ import annotations

import pytest

from edge_node.dsp.pacing import Pacer


def test_lateness_does_not_add_up() -> None:
    pacer = Pacer(0.02)
    now = 100.0
    for _ in range(1000):
        now += pacer.wait_s(now) + 0.003
    assert now == pytest.approx(120.003)
    assert pacer.stalls == 0


def test_a_small_delay_is_made_up_for() -> None:
    pacer = Pacer(0.02)
    assert pacer.wait_s(0.0) == pytest.approx(0.02)
    assert [pacer.wait_s(0.09) for _ in range(4)] == pytest.approx([0, 0, 0, 0.01])


def test_after_a_stall_it_goes_on_from_now() -> None:
    pacer = Pacer(0.02, max_lag_s=0.1)
    pacer.wait_s(0.0)
    assert pacer.wait_s(5.0) == 0.0
    assert pacer.wait_s(5.0) == pytest.approx(0.02)
    assert pacer.stalls == 1
