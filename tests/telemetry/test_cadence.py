"""When samples are due."""

from __future__ import annotations

import math

from edge_node.telemetry.cadence import Cadence


def test_the_first_sample_is_due_at_once_then_every_interval() -> None:
    cadence = Cadence(interval_s=10)
    assert cadence.deadline == -math.inf
    assert cadence.take(now=5.0)
    assert cadence.deadline == 15.0
    assert not cadence.take(now=14.9)
    assert cadence.take(now=15.0)


def test_jitter_moves_the_deadline_by_at_most_a_tenth() -> None:
    cadence = Cadence(interval_s=10)
    cadence.take(now=0.0, jitter=1.0)
    assert cadence.deadline == 11.0
    cadence.take(now=100.0, jitter=-5.0)
    assert cadence.deadline == 109.0


def test_a_change_brings_the_next_sample_forward_but_not_into_the_gap() -> None:
    cadence = Cadence(interval_s=10, min_gap_s=1)
    cadence.take(now=0.0)
    cadence.changed()
    assert cadence.deadline == 1.0
    assert not cadence.take(now=0.5)
    assert cadence.take(now=1.0)
    cadence.changed()
    cadence.changed()
    assert cadence.deadline == 2.0
    assert cadence.take(now=7.0)


def test_a_change_never_delays() -> None:
    cadence = Cadence(interval_s=0.5, min_gap_s=1)
    cadence.take(now=0.0)
    cadence.changed()
    assert cadence.deadline == 0.5
    fresh = Cadence(interval_s=10)
    fresh.changed()
    assert fresh.take(now=0.0)
