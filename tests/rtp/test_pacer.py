from __future__ import annotations

import pytest

from edge_node.rtp.pacer import (
    BURST_BYTES,
    DEPTH_BYTES,
    FLOOR_KBPS,
    INTERFACE_DEPTH_S,
    INTERFACE_FLOOR_KBPS,
    OPEN_FLOOR_KBPS,
    START_KBPS,
    THINNED_FACTOR,
    THINNED_FLOOR_KBPS,
    Meter,
    Pacer,
    SharedPacer,
    pace_kbps,
)


@pytest.mark.parametrize(
    ("stream", "path", "pace"),
    [
        (0.0, None, START_KBPS),
        (2000.0, None, START_KBPS),
        (6000.0, None, 12_000),
        (2000.0, 2000, 5000),
        (2000.0, 9000, 6000),
        (100.0, 150, OPEN_FLOOR_KBPS),  # a still picture says nothing about the path
        (2000.0, 1000, 2500),
        (2000.0, 100, FLOOR_KBPS),
        (0.0, 500, OPEN_FLOOR_KBPS),
    ],
)
def test_the_pace_is_near_the_path(stream: float, path: int | None, pace: float) -> None:
    assert pace_kbps(stream, path) == pace


def test_a_thinned_stream_leaves_at_about_what_the_path_carries() -> None:
    assert pace_kbps(600.0, 1000, thinned=True) == THINNED_FACTOR * 1000
    assert pace_kbps(600.0, 100, thinned=True) == THINNED_FLOOR_KBPS
    assert pace_kbps(600.0, None, thinned=True) == START_KBPS


def test_a_keyframe_on_a_link_of_10_mbit_with_a_queue_of_20_kb() -> None:
    """What media-network measured: 60 kB, unpaced, overflow it; near the path's rate they do not."""
    pacer, now, queue, highest, left = Pacer(8000), 0.0, 0.0, 0.0, 60_000
    while left > 0:
        burst = min(left, int(pacer.allowance(now)))
        pacer.spend(burst, now)
        left -= burst
        queue += burst
        highest = max(highest, queue)
        wait = pacer.wait_s(min(left, BURST_BYTES), now)
        now += wait
        queue = max(0.0, queue - wait * 10_000 * 125)
    assert highest <= 20_000 and 0.04 < now < 0.06


def test_what_is_owed_is_waited_for() -> None:
    pacer = Pacer(8000)
    assert pacer.wait_s(5000, 0.0) == 0.0
    pacer.spend(DEPTH_BYTES + 4000, 0.0)
    assert pacer.wait_s(6000, 0.0) == pytest.approx(0.010)
    assert pacer.allowance(0.010) == pytest.approx(6000)
    assert pacer.allowance(100.0) == pacer.depth == DEPTH_BYTES
    pacer.spend(DEPTH_BYTES, 100.0)
    assert pacer.wait_s(10 * DEPTH_BYTES, 100.0) == pytest.approx(0.012)  # never more than the bucket holds
    assert pacer.allowance(99.0) == 0.0  # a clock that steps back gives nothing
    pacer.set_pace(80_000)
    assert pacer.depth == 100_000


def test_one_pacer_for_all_behind_an_interface() -> None:
    shared = SharedPacer()
    assert shared.kbps == INTERFACE_FLOOR_KBPS and shared.depth == INTERFACE_FLOOR_KBPS * 125 * INTERFACE_DEPTH_S
    for viewer in range(8):
        shared.set_stream(viewer, 8000)
    assert shared.kbps == 32_000
    shared.set_stream(0, 0)
    shared.set_stream("never there", 0)
    assert shared.kbps == 28_000
    for viewer in range(8):
        shared.set_stream(viewer, 0)
    assert shared.kbps == INTERFACE_FLOOR_KBPS


def test_hours_of_ordinary_pictures_are_no_debt() -> None:
    """Nobody asks what they may: the first large picture after them must not pay for all."""
    shared = SharedPacer()
    for number in range(100_000):
        shared.spend(8000, number / 30)
    assert shared.wait_s(BURST_BYTES, 100_000 / 30) == 0.0


def test_the_rate_of_a_stream() -> None:
    meter = Meter()
    news = [meter.add(8000, number / 30) for number in range(31)]
    assert news.count(True) == 1 and news[-1] and meter.kbps == pytest.approx(31 * 64, rel=0.01)
    for number in range(31, 62):
        meter.add(4000, number / 30)
    assert 1300 < meter.kbps < 1600
