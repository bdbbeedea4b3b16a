"""What a browser sees in the seconds after its path became narrow, by a model on a steered clock."""

from __future__ import annotations

import pytest

from tests.rtp.narrowing import REPORT_S, Narrowing, Run

PHASES = [step * REPORT_S / 16 for step in range(16)]
SCENE = (0.1, 2.1)
"""A picture of twice the size comes just when the path has narrowed, before anybody can know."""


def runs(to_kbps: int, scenes: tuple[float, ...] = (), *, uses_flight: bool = True) -> list[Run]:
    return [Narrowing(to_kbps, phase, scenes, uses_flight=uses_flight).run(6) for phase in PHASES]


@pytest.mark.parametrize("to_kbps", [1000, 1500])
def test_no_second_has_fewer_than_twenty_pictures_whenever_the_browser_reports(to_kbps: int) -> None:
    for run in runs(to_kbps):
        assert min(run.per_second) >= 20 and run.most_s <= 0.4, run


def test_a_new_scene_at_the_worst_moment_costs_part_of_a_second_at_most() -> None:
    found = runs(1000, SCENE)
    assert all(min(run.per_second[1:]) >= 20 and run.most_s <= 0.45 for run in found), found
    assert sum(run.per_second[0] < 20 for run in found) <= len(found) // 4, found


def test_by_the_estimate_alone_the_queue_overflows_and_the_picture_stands() -> None:
    found = runs(1000, uses_flight=False)
    assert sum(run.per_second[0] < 15 for run in found) > len(found) // 2
    assert max(run.overflowed for run in found) > 10
