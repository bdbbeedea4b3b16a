"""Does less while the board suffers, and more again once it has been well for a while."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edge_node.encode_plan.limits import HeatLimits
from edge_node.encode_plan.plan import Source
from edge_node.encode_plan.rules import wifi_at_risk

SHARES = (1.0, 0.75, 0.5, 0.35, 0.25)
"""Of the planned work, step by step; the firmware of a Pi throttles its clocks by about half at 80-85 °C."""
DOWN_EVERY_S = 10.0
"""A step needs this long to show in the temperature of a small heat sink."""
UP_AFTER_S, UP_AFTER_MOST_S = 60.0, 960.0
COOL_BY_C = 5.0
"""Warm ends this far below where it began: else the step up would at once be taken back."""
LATE_SHARE = 0.25
"""Pictures that the encoder came too late for, of those that came; below it eyes hardly notice."""
LATE_READINGS = 3
"""So many readings in a row: a busy moment of something else is over by then."""
# Words of host.probes for what holds back now; those of since boot end in _since_boot.
_WORDS = {"voltage": "under_voltage", "temp": "heat", "throttled": "throttled", "frequency_capped": "throttled"}


@dataclass(frozen=True, slots=True)
class Work:
    """What the picture's engine does now.

    `offered` and `late` count pictures since the start: that came to the encoder, that it was still too busy for.
    `source` is None until the first picture; `software_instead`: the board's encoder was planned and failed. The same
    counts of the VP8 encoder; `stream_kbps` and `stream_px` are of a stream that is handed through.
    """

    source: Source | None = None
    viewers: int = 0
    offered: int = 0
    late: int = 0
    software_instead: bool = False
    vp8_offered: int = 0
    vp8_late: int = 0
    stream_kbps: float = 0.0
    stream_px: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What is known of the board; None for what it does not tell.

    `late_share`: pictures dropped since the reading before because the encoder was still busy, 0 to 1.
    """

    temp_c: float | None = None
    throttled: Collection[str] | None = None
    late_share: float | None = None
    on_wifi: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """`share` of the planned work, with the `causes` of whatever is missing to 1."""

    share: float = 1.0
    causes: tuple[str, ...] = ()


class Governor:
    """One step down at a time, every DOWN_EVERY_S while a cause lasts; one up after a while without any.

    That while is UP_AFTER_S, twice as long each time a step up had to be taken back, at most UP_AFTER_MOST_S.
    """

    def __init__(self, limits: HeatLimits) -> None:
        self._limits = limits
        self._level = 0
        self._causes: tuple[str, ...] = ()
        self._warm = False
        self._wifi_warm = False
        self._late_in_a_row = 0
        self._down_at: float | None = None
        self._moved_at = 0.0
        self._trouble_at = 0.0
        self._went_up = False
        self._up_after_s = UP_AFTER_S

    @property
    def step(self) -> Step:
        """What is in force."""
        return Step(SHARES[self._level], self._causes if self._level else ())

    def update(self, reading: Reading, now: float) -> Step:
        """Takes a reading at `now` (seconds, growing); the step that is in force from then on."""
        causes = self._judge(reading)
        if causes:
            self._trouble_at = now
            self._causes = causes
            self._down(now)
        elif self._level and now - max(self._trouble_at, self._moved_at) >= self._up_after_s:
            self._level -= 1
            self._moved_at, self._went_up = now, True
        elif self._level == 0 and self._went_up and now - self._moved_at >= self._up_after_s:
            self._went_up, self._up_after_s = False, UP_AFTER_S  # it held
        return self.step

    def _down(self, now: float) -> None:
        if (self._down_at is not None and now - self._down_at < DOWN_EVERY_S) or self._level == len(SHARES) - 1:
            return
        if self._went_up:
            self._up_after_s = min(2 * self._up_after_s, UP_AFTER_MOST_S)
        self._level += 1
        self._down_at = self._moved_at = now
        self._went_up = False
        self._late_in_a_row = 0  # what comes after the step is judged anew

    def _judge(self, reading: Reading) -> tuple[str, ...]:
        found = [word for name in reading.throttled or () for key, word in _WORDS.items() if self._now(name, key)]
        if reading.temp_c is not None:
            self._warm = reading.temp_c >= self._limits.warm_c - (COOL_BY_C if self._warm else 0.0)
            # Judged at a temperature that is higher by the hysteresis while the chip is warm already.
            judged_c = reading.temp_c + (COOL_BY_C if self._wifi_warm else 0.0)
            self._wifi_warm = wifi_at_risk(judged_c, self._limits.wifi_c, reading.on_wifi)
        if self._warm:
            found.append("heat")
        elif self._wifi_warm:
            found.append("wifi_heat")
        if reading.late_share is not None:
            self._late_in_a_row = self._late_in_a_row + 1 if reading.late_share > LATE_SHARE else 0
        if self._late_in_a_row >= LATE_READINGS:
            found.append("late")
        return tuple(dict.fromkeys(found))

    @staticmethod
    def _now(name: str, key: str) -> bool:
        return key in name and not name.endswith("_since_boot")
