"""Day turns to night, and back only when it is really day."""

from __future__ import annotations

from edge_node.encode_plan.daylight import LONGEST_HOLD_S, Daylight, DaylightRule

RULE = DaylightRule(night_below=40, day_above=110, settle_s=30)


class Sky:
    """Shows the same brightness second after second."""

    def __init__(self) -> None:
        self.daylight = Daylight(RULE)
        self.now = 0.0

    def light(self) -> str:
        return str(self.daylight.light)

    def until_change(self, luma: float, at_most_s: float) -> float | None:
        """Seconds until the light changed."""
        begun = self.now
        while self.now - begun < at_most_s:
            self.now += 1
            if self.daylight.see(luma, self.now) is not None:
                return self.now - begun
        return None


def test_it_settles_before_it_changes_and_stays_in_between() -> None:
    sky = Sky()
    assert sky.until_change(200, 100) is None
    assert sky.light() == "day"
    dusk_s = sky.until_change(10, 200)
    assert dusk_s is not None and dusk_s >= RULE.settle_s
    assert sky.light() == "night"
    assert sky.until_change(80, 3600) is None, "between the thresholds nothing changes"
    assert sky.until_change(180, 200) is not None
    assert sky.light() == "day"


def test_a_headlight_or_a_hand_changes_nothing() -> None:
    sky = Sky()
    for _ in range(20):
        assert sky.until_change(5, 10) is None
        assert sky.until_change(150, 60) is None


def test_a_camera_that_sees_its_own_night_exposure_as_day_oscillates_ever_less() -> None:
    sky = Sky()
    holds = []
    for _ in range(10):
        assert sky.until_change(10, 200) is not None
        hold_s = sky.until_change(150, 4000)
        assert hold_s is not None
        holds.append(hold_s)
    assert holds[0] < 40 and holds == sorted(holds) and max(holds) <= LONGEST_HOLD_S + 1
    assert holds[-1] > 1000
    assert sky.until_change(150, 3600) is None, "a real day"
    assert sky.until_change(10, 200) is not None
    hold_s = sky.until_change(150, 4000)
    assert hold_s is not None and hold_s < 40, "a day that lasted forgives"
