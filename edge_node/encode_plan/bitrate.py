"""What bit rate the one encoder runs at."""

from __future__ import annotations

# Congestion starts before the estimate is reached; packet headers and repairs need their share.
HEADROOM = 0.85
# No estimate (REMB) comes in the first 4-5 s of a viewer, so a stream begins low and climbs by itself.
START_SHARE = 0.4
RAMP_S = 4.0


class BitrateControl:
    """Begins at START_SHARE of the ceiling, climbs to it within RAMP_S, obeys the viewers' paths; all in kbit/s."""

    def __init__(self, floor_kbps: int, ceiling_kbps: int) -> None:
        self._floor = floor_kbps
        self._ceiling = ceiling_kbps
        self._path: int | None = None
        self._begun_at: float | None = None

    def set_limits(self, floor_kbps: int, ceiling_kbps: int) -> None:
        """Another plan."""
        self._floor, self._ceiling = floor_kbps, ceiling_kbps

    @property
    def limited_by_path(self) -> bool:
        """Whether a viewer's path carries less than the ceiling."""
        return self._path is not None and self._path * HEADROOM < self._ceiling

    def begin(self, now: float) -> None:
        """The first viewer came: nothing is known about its path."""
        self._begun_at = now
        self._path = None

    def path_carries(self, kbps: int) -> None:
        """The narrowest of the viewers' paths carries about this much."""
        self._path = kbps

    def target_kbps(self, now: float) -> int:
        """What to encode at, between floor and ceiling."""
        climbed = 1.0 if self._begun_at is None else min(1.0, max(0.0, now - self._begun_at) / RAMP_S)
        target = self._ceiling * (START_SHARE + (1 - START_SHARE) * climbed)
        if self._path is not None:
            target = min(self._path * HEADROOM, self._ceiling)
        return int(max(self._floor, min(target, self._ceiling)))
