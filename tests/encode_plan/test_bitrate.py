"""The bit rate of the one encoder."""

from __future__ import annotations

from edge_node.encode_plan.bitrate import HEADROOM, RAMP_S, START_SHARE, BitrateControl


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
    assert not control.limited_by_path
    control.path_carries(1000)
    assert control.limited_by_path
    control.set_limits(100, 800)
    assert not control.limited_by_path
    assert control.target_kbps(0.0) == 800
