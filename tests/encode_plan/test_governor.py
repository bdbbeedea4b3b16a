"""The governor, by a steered clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_node.encode_plan.governor import (
    COOL_BY_C,
    DOWN_EVERY_S,
    LATE_READINGS,
    SHARES,
    UP_AFTER_MOST_S,
    UP_AFTER_S,
    Governor,
    Reading,
    Step,
)
from edge_node.encode_plan.limits import HeatLimits

TICK_S = 2.0
HOT = Reading(temp_c=84.0)
COOL = Reading(temp_c=50.0)
FULL = Step()


class Day:
    """A governor and the time that passes."""

    def __init__(self, limits: HeatLimits | None = None) -> None:
        self.governor = Governor(limits or HeatLimits(80.0))
        self.now = 0.0

    def live(self, reading: Reading, seconds: float = TICK_S) -> Step:
        """So many seconds of the same readings; the step at their end."""
        for _ in range(round(seconds / TICK_S)):
            self.now += TICK_S
            self.governor.update(reading, self.now)
        return self.governor.step

    def until(self, reading: Reading, share: float, most_s: float = 5000) -> float:
        """How many seconds of these readings lead to that share."""
        begun = self.now
        while self.live(reading).share != share:
            assert self.now - begun < most_s
        return self.now - begun


@pytest.fixture
def day() -> Iterator[Day]:
    yield Day()


def test_all_is_well(day: Day) -> None:
    assert day.live(COOL, 600) == day.live(Reading(), 600) == FULL


@pytest.mark.parametrize(
    ("reading", "cause"),
    [
        (HOT, "heat"),
        (Reading(throttled=["soft_temperature_limit"]), "heat"),
        (Reading(throttled=["under_voltage"]), "under_voltage"),
        (Reading(throttled=["throttled"]), "throttled"),
        (Reading(throttled=["frequency_capped", "throttled"]), "throttled"),
    ],
)
def test_a_cause_costs_a_step_at_once_and_is_named(day: Day, reading: Reading, cause: str) -> None:
    assert day.live(reading) == Step(SHARES[1], (cause,))


def test_what_was_since_boot_costs_nothing(day: Day) -> None:
    assert day.live(Reading(throttled=["under_voltage_since_boot", "throttled_since_boot"]), 60) == FULL


def test_steps_down_take_their_time_and_end(day: Day) -> None:
    day.live(HOT)
    assert day.live(HOT, DOWN_EVERY_S - TICK_S).share == SHARES[1]
    assert day.live(HOT).share == SHARES[2]
    assert day.live(HOT, 600) == Step(SHARES[-1], ("heat",))


def test_back_up_slowly_one_step_at_a_time(day: Day) -> None:
    day.live(HOT, 2 * DOWN_EVERY_S)
    assert day.governor.step.share == SHARES[2]
    assert day.until(COOL, SHARES[1]) == pytest.approx(UP_AFTER_S, abs=TICK_S)
    assert day.governor.step.causes == ("heat",)
    assert day.until(COOL, 1.0) == pytest.approx(UP_AFTER_S, abs=TICK_S)
    assert day.governor.step == FULL


def test_a_little_cooler_is_still_warm(day: Day) -> None:
    day.live(HOT)
    assert day.live(Reading(temp_c=80.0 - COOL_BY_C), 200).share < SHARES[1]
    assert day.until(Reading(temp_c=80.0 - COOL_BY_C - 0.1), 1.0) <= (UP_AFTER_S + TICK_S) * len(SHARES)
    assert day.live(Reading(temp_c=79.9), 200) == FULL


def test_a_step_up_that_fails_makes_the_next_one_wait_longer(day: Day) -> None:
    day.live(HOT)
    waits = []
    for _ in range(7):
        waits.append(day.until(COOL, 1.0))
        day.live(HOT)
    doubled = [min(UP_AFTER_S * 2**n, UP_AFTER_MOST_S) for n in range(7)]
    assert waits == pytest.approx(doubled, abs=2 * TICK_S)


def test_a_step_up_that_holds_makes_patience_short_again(day: Day) -> None:
    day.live(HOT)
    day.until(COOL, 1.0)
    day.live(HOT)
    assert day.until(COOL, 1.0) == pytest.approx(2 * UP_AFTER_S, abs=TICK_S)
    day.live(COOL, 3 * UP_AFTER_S)
    day.live(HOT)
    assert day.until(COOL, 1.0) == pytest.approx(UP_AFTER_S, abs=TICK_S)


def test_late_pictures_count_when_they_last(day: Day) -> None:
    late = Reading(late_share=0.5)
    for _ in range(3):
        assert day.live(late, (LATE_READINGS - 1) * TICK_S) == FULL
        assert day.live(Reading(late_share=0.1)) == FULL
    assert day.live(late, LATE_READINGS * TICK_S) == Step(SHARES[1], ("late",))
    assert day.live(late, (LATE_READINGS - 1) * TICK_S).share == SHARES[1]
    assert day.live(Reading(), 20).share == SHARES[1]


def test_the_wifi_of_some_boards_suffers_first() -> None:
    day = Day(HeatLimits(warm_c=80.0, wifi_c=70.0))
    assert day.live(Reading(temp_c=75.0), 60) == FULL
    wifi = Reading(temp_c=71.0, on_wifi=True)
    assert day.live(wifi) == Step(SHARES[1], ("wifi_heat",))
    assert day.live(Reading(temp_c=66.0, on_wifi=True), DOWN_EVERY_S).share == SHARES[2]
    assert day.live(Reading(temp_c=85.0, on_wifi=True), DOWN_EVERY_S).causes == ("heat",)
    day.until(Reading(temp_c=60.0, on_wifi=True), 1.0)
    assert day.live(Reading(temp_c=69.0, on_wifi=True), 60) == FULL
