"""Timestamps that keep growing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_node.media.unit_timeline import UnitTimeline
from edge_node.ports import VIDEO_CLOCK


def test_the_steps_of_the_source_are_kept_whatever_the_arrival() -> None:
    timeline = UnitTimeline(100.0)
    jitter = [0.0, 0.02, 0.09, 0.01]
    placed = [timeline.place(7_000_000 + n * 3000, 100.5 + n / 30 + late) for n, late in enumerate(jitter)]
    assert placed == [45_000 + n * 3000 for n in range(4)]


def test_a_restarted_source_goes_on_where_the_time_is() -> None:
    timeline = UnitTimeline(0.0)
    timeline.place(900_000, 1.0)
    assert timeline.place(0, 5.0) == 5 * VIDEO_CLOCK
    assert timeline.place(3000, 5.03) == 5 * VIDEO_CLOCK + 3000


def test_a_source_that_strays_is_anchored_anew() -> None:
    timeline = UnitTimeline(0.0)
    timeline.place(0, 0.0)
    assert timeline.place(1_000_000_000, 0.1) == 9000


@given(st.lists(st.tuples(st.integers(-(2**33), 2**33), st.floats(0, 1e5)), max_size=40))
def test_time_never_stands_still(pictures: list[tuple[int, float]]) -> None:
    timeline = UnitTimeline(0.0)
    placed = [timeline.place(timestamp, captured_at) for timestamp, captured_at in pictures]
    assert placed == sorted(set(placed))
