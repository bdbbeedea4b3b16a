"""Timestamps that only grow."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.media.rtsp.timeline import MAX_DRIFT_S, Timeline
from edge_node.media.unit_timeline import UnitTimeline

FRAME = 3000  # 30 pictures a second


def test_follows_the_cameras_clock_over_its_wrap() -> None:
    line = Timeline()
    start = 0xFFFF_FFFF - FRAME
    ticks = [line.place((start + n * FRAME) & 0xFFFF_FFFF, n / 30) for n in range(5)]
    assert ticks == [0, 3000, 6000, 9000, 12000]
    assert line.jumps == 0


def test_keeps_the_cameras_spacing_when_packets_come_in_bursts() -> None:
    line = Timeline()
    arrivals = [0.0, 2.9, 2.9, 2.9]
    assert [line.place(n * FRAME, now) for n, now in enumerate(arrivals)] == [0, 3000, 6000, 9000]


def test_pictures_out_of_presentation_order_still_grow() -> None:
    line = Timeline()
    order = [0, 3, 1, 2, 6, 4, 5]  # two B-frames between P-frames
    ticks = [line.place(n * FRAME, i / 30) for i, n in enumerate(order)]
    assert ticks == [0, 9000, 9001, 9002, 18000, 18001, 18002]
    assert line.jumps == 0


def test_a_jump_is_bridged_by_our_clock() -> None:
    for jump in (900_000, -900_000, 2_000_000_000):
        line = Timeline()
        rtp = 3_000_000_000
        assert line.place(rtp, 10.0) == 0
        assert line.place((rtp + jump) & 0xFFFF_FFFF, 10.1) == 9000
        assert line.place((rtp + jump + FRAME) & 0xFFFF_FFFF, 10.2) == 12_000
        assert line.jumps == 1


def test_a_clock_that_strays_is_anchored_anew_without_a_step() -> None:
    line = Timeline()
    ticks = [line.place(n * FRAME, n / 15) for n in range(400)]  # half as fast as ours
    assert line.jumps == 2
    assert {b - a for a, b in pairwise(ticks)} <= {FRAME, FRAME * 21 // 20, 2 * FRAME}
    assert {b - a for a, b in pairwise(ticks[200:])} == {2 * FRAME}, "by then the camera's clock is not believed"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda n: 5000,
        lambda n: n * 33,
        lambda n: n * 2 * FRAME,
        lambda n: n % 60 * FRAME,
        lambda n: n * FRAME - n // 60 * 45_000,
        lambda n: n * FRAME + n // 30 * 324_000_000,
    ],
    ids=["stands still", "milliseconds", "too fast", "begins anew with each keyframe", "steps back", "steps on"],
)
def test_wrong_timestamps_do_not_reach_the_viewers(wrong: Callable[[int], int]) -> None:
    line, on = Timeline(), UnitTimeline(0.0)
    placed = [on.place(line.place(wrong(n) & 0xFFFF_FFFF, n / 30), n / 30) for n in range(900)]
    steps = [b - a for a, b in pairwise(placed[300:])]
    assert max(abs(step - FRAME) for step in steps) <= 1
    line.restart()
    assert line.place(77, 31.0) + 10 * FRAME == line.place(77 + 10 * FRAME, 31.0), "another stream is believed"


def test_a_camera_that_counts_too_many_pictures_is_followed_smoothly() -> None:
    line, on = Timeline(), UnitTimeline(0.0)
    placed = [on.place(line.place(n * FRAME, n / 29), n / 29) for n in range(29 * 180)]
    steps = [b - a for a, b in pairwise(placed)]
    assert line.jumps == 0 and min(steps) > 0.9 * FRAME and max(steps) < 1.1 * FRAME


def test_a_restart_goes_on_after_the_time_that_passed() -> None:
    line = Timeline()
    line.place(500, 1.0)
    line.restart()
    assert line.place(123_456, 3.0) == 180_000
    assert line.place(123_456 + FRAME, 3.1) == 183_000


def test_our_clock_may_stand_still() -> None:
    line = Timeline()
    assert line.place(0, 5.0) == 0
    line.restart()
    assert line.place(0, 5.0) == 1
    assert line.place(0, 4.0) == 2


@given(st.lists(st.tuples(st.integers(0, 0xFFFF_FFFF), st.floats(0, 10), st.booleans()), max_size=50))
def test_always_grows(pictures: list[tuple[int, float, bool]]) -> None:
    line, now, last = Timeline(), 0.0, -1
    for rtp, passed, restart in pictures:
        now += passed
        if restart:
            line.restart()
        tick = line.place(rtp, now)
        assert tick > last
        assert tick <= (now + MAX_DRIFT_S * 2) * 90_000 + len(pictures)
        last = tick
