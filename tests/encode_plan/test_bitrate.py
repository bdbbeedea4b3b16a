"""The bit rate of the one encoder."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.encode_plan.bitrate import (
    HEADROOM,
    MOST_BEHIND,
    RAMP_S,
    RECOVERY,
    START_MOST_KBPS,
    START_SHARE,
    BitrateControl,
    LossEstimate,
    SharedRate,
    shared_rate,
)


def test_before_the_first_viewer_it_is_the_ceiling() -> None:
    assert BitrateControl(100, 2000).target_kbps(0.0) == 2000


def test_a_stream_starts_low_then_climbs_to_the_ceiling() -> None:
    control = BitrateControl(100, 2000)
    control.begin(10.0)
    rates = [control.target_kbps(10.0 + RAMP_S * step / 4) for step in range(6)]
    assert rates[0] == int(2000 * START_SHARE)
    assert rates == sorted(rates)
    assert rates[4] == rates[5] == 2000


def test_the_path_rules_once_it_is_known() -> None:
    control = BitrateControl(100, 2000)
    control.begin(0.0)
    control.path_carries(1000)
    assert control.target_kbps(0.0) == int(1000 * HEADROOM)
    control.path_carries(50)
    assert control.target_kbps(9.0) == 100
    control.path_carries(9000)
    assert control.target_kbps(9.0) == 2000


def test_a_new_first_viewer_starts_over() -> None:
    control = BitrateControl(100, 2000)
    control.begin(0.0)
    control.path_carries(300)
    control.begin(50.0)
    assert control.target_kbps(50.0) == int(2000 * START_SHARE)


def test_it_tells_who_limits_it() -> None:
    control = BitrateControl(100, 2000)
    assert not control.limited_by_path(2000)
    control.path_carries(1000)
    assert control.limited_by_path(800)
    assert not control.limited_by_path(0.8 * HEADROOM * 1000), "a quiet scene on a path that nobody has tried"
    control.set_limits(100, 800)
    assert not control.limited_by_path(800)
    assert control.target_kbps(0.0) == 800


def test_a_high_ceiling_starts_low_all_the_same() -> None:
    control = BitrateControl(100, 8000)
    control.begin(0.0)
    assert control.target_kbps(0.0) == START_MOST_KBPS
    assert control.target_kbps(RAMP_S) == 8000


@pytest.mark.parametrize(
    ("asked", "kbps", "behind"),
    [
        ([700], 700, []),
        ([50], 50, []),
        ([2000, 1500], 1500, []),
        ([2000, 999], 2000, [1]),
        ([300, 2000, 2000], 2000, [0]),
        ([300, 310, 2000], 300, []),
        ([300, 700, 2000], 700, [0]),
        ([2000, 300, 2000, 320, 2000, 2000], 2000, [1, 3]),
        ([100, 300, 2000, 2000, 2000], 300, [0]),
        ([300, 300, 300, 2000, 2000, 2000], 300, []),
    ],
)
def test_one_viewers_dip_is_not_everybodys(asked: list[int], kbps: int, behind: list[int]) -> None:
    assert shared_rate(asked) == SharedRate(kbps, frozenset(behind))


@given(st.lists(st.integers(10, 10_000), min_size=1, max_size=20))
def test_few_are_left_behind_and_the_rest_can_take_the_rate(asked: list[int]) -> None:
    shared = shared_rate(asked)
    assert len(shared.behind) <= (0 if len(asked) == 1 else max(1, len(asked) // MOST_BEHIND))
    assert shared.kbps == min(kbps for index, kbps in enumerate(asked) if index not in shared.behind)
    assert all(asked[index] < shared.kbps for index in shared.behind)


def test_heavy_loss_speaks_before_any_estimate_does() -> None:
    estimate = LossEstimate(999, 0.0)
    assert estimate.heard(1000, 1099, 0, 1.0) is None
    assert estimate.heard(1000, 1199, 9, 2.0) is None
    assert estimate.heard(1000, 1299, 29, 3.0) == 720
    assert estimate.heard(700, 1399, 31, 4.0) == int(720 * RECOVERY)
    assert estimate.heard(700, 1399, 31, 5.0) is None  # nothing came: nothing is known
    assert estimate.heard(700, 1499, 200, 6.0) == 0


def test_single_losses_between_two_reports_are_no_heavy_loss() -> None:
    estimate = LossEstimate(-1, 0.0)
    for count in range(1, 40):  # one packet in twenty is lost, and asked for at once, with a report
        assert estimate.heard(1000, count * 20 - 1, count, count * 0.1) is None


def test_a_path_that_falls_gets_less_until_its_queue_is_empty() -> None:
    control = BitrateControl(100, 2000)
    control.path_carries(2400)
    assert control.target_kbps(10.0) == 2000
    control.path_carries(1300)
    assert control.target_kbps(10.2) == 650
    control.path_carries(1200)  # a little less is no fall
    assert control.target_kbps(10.4) == 600
    control.path_carries(800)
    assert control.target_kbps(11.0) == 400 and control.target_kbps(12.4) == 400
    assert control.target_kbps(12.6) == 680


def test_a_path_that_is_back_at_once_had_no_queue() -> None:
    control = BitrateControl(100, 2000)
    control.path_carries(2400)
    control.path_carries(1200)
    assert control.target_kbps(10.0) == 600
    control.path_carries(1300)
    assert control.target_kbps(10.2) == 650
    control.path_carries(2200)
    assert control.target_kbps(10.4) == 1870
    control.path_carries(1200)
    assert control.target_kbps(10.6) == 600 and control.target_kbps(12.2) == 1020


def test_a_path_that_falls_to_what_is_wide_enough_changes_nothing() -> None:
    control = BitrateControl(100, 2000)
    control.path_carries(9000)
    control.path_carries(3000)
    assert control.target_kbps(1.0) == 2000
