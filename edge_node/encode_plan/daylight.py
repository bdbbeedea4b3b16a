"""Whether the camera sees by day or by night."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

LONGEST_HOLD_S = 1800.0
NIGHT_BELOW_LUX, DAY_ABOVE_LUX = 5.0, 20.0
"""Late dusk, and a well-lit street at night: what libcamera estimates of a scene; not yet run on hardware."""
SMOOTH = 0.2
"""Weight of a new reading: a passing headlight is no morning."""


class Light(StrEnum):
    DAY = "day"
    NIGHT = "night"


@dataclass(frozen=True, slots=True)
class DaylightRule:
    """Below `night_below` it is night, above `day_above` it is day, in between it stays.

    Of mean luma, 0 to 255, unless stated otherwise. It has to be so for `settle_s`.
    """

    night_below: float = 40.0
    day_above: float = 110.0
    settle_s: float = 30.0


class Daylight:
    """Feed it readings, in order of time.

    Night's longer exposure makes the picture brighter by itself: a day that turns to night again at once was none, and
    each such mistake doubles the time before the next day, up to LONGEST_HOLD_S; a day that lasts forgives it.
    """

    def __init__(self, rule: DaylightRule) -> None:
        self._rule = rule
        self._smooth: float | None = None
        self._since_s: float | None = None
        self._day_began_s = float("-inf")
        self._hold_s = rule.settle_s
        self.light = Light.DAY

    def see(self, reading: float, now: float) -> Light | None:
        """A reading at `now` (seconds); the new light when it has changed."""
        self._smooth = reading if self._smooth is None else self._smooth + SMOOTH * (reading - self._smooth)
        by_day = self.light is Light.DAY
        other = self._smooth < self._rule.night_below if by_day else self._smooth > self._rule.day_above
        if not other:
            self._since_s = None
            return None
        if self._since_s is None:
            self._since_s = now
        if now - self._since_s < (self._rule.settle_s if by_day else self._hold_s):
            return None
        self._change(now, by_day)
        return self.light

    def _change(self, now: float, was_day: bool) -> None:
        self.light = Light.NIGHT if was_day else Light.DAY
        self._smooth = self._since_s = None  # the camera sees differently from now on
        if not was_day:
            self._day_began_s = now
        elif now - self._day_began_s < 10 * self._rule.settle_s:
            self._hold_s = min(2 * self._hold_s, LONGEST_HOLD_S)
        else:
            self._hold_s = self._rule.settle_s
