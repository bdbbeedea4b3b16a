"""Picture timestamps that only grow, out of RTP timestamps that wrap, jump, run wrongly or start again."""

from __future__ import annotations

import math

from edge_node.ports import VIDEO_CLOCK

MAX_DRIFT_S = 3.0
"""How far the camera's clock may stray from ours before it is anchored anew; a network stall is not straying."""
SLACK_S = 0.25
SETTLE_S = 1.0
SLEW = 0.05
"""Once it was beyond the slack for so long, this share of each step is taken off, or added, to come back: a camera that
counts 30 pictures a second and sends 29 would stray all the time."""
WILD_S = 120.0
"""A clock that was wrong twice in so short a time is wrong: ours is used until the next stream."""


class Timeline:
    """Places pictures on VIDEO_CLOCK ticks from 0: by the camera's clock while it is sane, by ours where it is not."""

    def __init__(self) -> None:
        self.jumps = 0
        self.reorders = False
        """Pictures come in the order of decoding: their ticks are those of showing, and need not grow."""
        self._rtp: int | None = None
        self._raw = 0  # the camera's clock, unwrapped and anchored
        self._anchor = 0
        self._anchor_at = 0.0
        self._last = -1
        self._last_at: float | None = None
        self._strays_since: float | None = None
        self._jumped_at: float | None = None
        self._wild = False

    def restart(self) -> None:
        """Another stream follows: its first picture comes after the last one by the time that passed on our clock."""
        self._rtp = self._strays_since = self._jumped_at = None
        self._wild = False

    def place(self, rtp: int, now: float) -> int:
        """The tick of a picture with a 32-bit RTP timestamp that arrived at `now` seconds.

        Larger than any before, unless `reorders`.
        """
        if self._rtp is not None:
            raw = None if self._wild else self._follow(rtp, now)
            if raw is not None:
                return self._emit(rtp, raw, now)
        passed = 0.0 if self._last_at is None else max(0.0, now - self._last_at)
        self._anchor = max(self._last, 0) + round(passed * VIDEO_CLOCK)
        self._anchor_at = now
        return self._emit(rtp, self._anchor, now)

    def _follow(self, rtp: int, now: float) -> int | None:
        """The camera's clock, anchored; None when it cannot be right."""
        assert self._rtp is not None
        step = ((rtp - self._rtp + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
        raw = self._raw + step
        drift_s = (raw - self._anchor) / VIDEO_CLOCK - (now - self._anchor_at)
        # No picture is older than the one before, unless B-frames are about; a stall of the network can look like it.
        stands = step <= 0 and not self.reorders
        if abs(drift_s) > (SLACK_S if stands else MAX_DRIFT_S):
            self._wild = self._jumped_at is not None and now - self._jumped_at < WILD_S
            self._jumped_at, self._strays_since = now, None
            self.jumps += 1
            return None
        if abs(drift_s) <= SLACK_S or self.reorders:
            self._strays_since = None
        elif self._strays_since is None:
            self._strays_since = now
        elif now - self._strays_since >= SETTLE_S:
            raw -= round(math.copysign(SLEW * step, drift_s))
        return raw

    def _emit(self, rtp: int, raw: int, now: float) -> int:
        self._rtp, self._raw, self._last_at = rtp, raw, now
        self._last = max(raw, self._last + 1)
        return max(0, raw) if self.reorders else self._last
