"""What a browser sees in the seconds after its path became narrow, by a model on a steered clock."""

from __future__ import annotations

import pytest

from tests.rtp.narrowing import REPORT_S, Narrowing, Run

PHASES = [step * REPORT_S / 8 for step in range(8)]
SCENES = [(), (0.1, 2.1), (0.25, 2.25), (0.4, 2.4)]
"""A picture of twice the size comes just when the path has narrowed, before anybody can know."""
FALLS = [(1000, scenes) for scenes in SCENES] + [(1500, ())]


def worst(to_kbps: int, scenes: tuple[float, ...], *, uses_flight: bool = True) -> list[Run]:
    return [Narrowing(to_kbps, phase, scenes, uses_flight=uses_flight).run(6) for phase in PHASES]


@pytest.mark.parametrize(("to_kbps", "scenes"), FALLS)
def test_no_second_has_fewer_than_twenty_pictures(to_kbps: int, scenes: tuple[float, ...]) -> None:
    for run in worst(to_kbps, scenes):
        assert min(run.per_second) >= 20 and run.most_s <= 0.4, run


def test_by_the_estimate_alone_the_queue_overflows() -> None:
    runs = worst(1000, (0.25, 2.25), uses_flight=False)
    assert min(run.per_second[0] for run in runs) < 15 and max(run.overflowed for run in runs) > 0
