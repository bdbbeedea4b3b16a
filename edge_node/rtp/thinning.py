"""Which pictures of a camera that cannot be asked for fewer bits go to a viewer whose path carries too little."""

from __future__ import annotations

from edge_node.rtp.pacer import Meter

SHARE = 0.9
FLOOR_KBPS = 600
"""REMB follows what is received: a share of it alone would spiral down to nothing."""
DEPTH_S = 0.8
BEGIN_BELOW, BEGIN_AT_ONCE_BELOW, END_ABOVE = 0.7, 0.55, 0.85
"""REMB as a share of the stream: on a path that is wide enough it starts at 0.65 (far, lossy) to 0.8, then climbs by
8 % a second; while pictures are left out it hardly climbs beyond what is sent."""
PATIENCE_S = 2.0
"""So long it may stay low before that means anything, unless it is very low."""


class Thinner:
    """Lets pictures through while a bucket of bytes lasts, then none until the next keyframe; so all can be decoded.

    `skipped` counts those that were not let through; `active` says whether anything may be skipped.
    """

    def __init__(self) -> None:
        self._offered = Meter()
        self._path_kbps: int | None = None
        self._bytes = 0.0
        self._at = 0.0
        self._skips = False
        self._low_since: float | None = None
        self.active = False
        self.skipped = 0

    def set_path(self, kbps: int) -> None:
        """What the path carries (REMB)."""
        self._path_kbps = kbps

    def admits(self, size: int, keyframe: bool, now: float) -> bool:
        """Whether this picture of so many bytes goes out."""
        self._offered.add(size, now)
        if self._path_kbps is None or not self._offered.kbps:
            return True
        self._switch(self._path_kbps / self._offered.kbps, now)
        if not self.active and not self._skips:
            return True
        return self._fits(size, keyframe, now)

    def _switch(self, ratio: float, now: float) -> None:
        if self.active:
            self.active = ratio <= END_ABOVE
            return
        if ratio >= BEGIN_BELOW:
            self._low_since = None
        elif self._low_since is None:
            self._low_since = now
        lasted = self._low_since is not None and now - self._low_since >= PATIENCE_S
        if ratio < BEGIN_AT_ONCE_BELOW or lasted:
            self.active, self._low_since = True, None
            self._bytes, self._at = 0.0, now

    def _fits(self, size: int, keyframe: bool, now: float) -> bool:
        assert self._path_kbps is not None
        rate = max(FLOOR_KBPS, SHARE * self._path_kbps) * 125
        self._bytes = min(rate * DEPTH_S, self._bytes + (now - self._at) * rate)
        self._at = now
        if keyframe:
            # Half of it may be owed: without it nothing can be shown before the next one.
            self._skips = self.active and self._bytes < min(size, rate * DEPTH_S) / 2
        elif self.active and self._bytes < size:
            self._skips = True
        if self._skips:
            self.skipped += 1
            return False
        self._bytes -= size
        return True
