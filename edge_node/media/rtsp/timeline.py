"""Picture timestamps that only grow, out of RTP timestamps that wrap, jump or start again."""

from __future__ import annotations

from edge_node.ports import VIDEO_CLOCK

MAX_DRIFT_S = 3.0
"""How far the camera's clock may stray from ours before it is anchored anew; a network stall is not straying."""


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

    def restart(self) -> None:
        """Another stream follows: its first picture comes after the last one by the time that passed on our clock."""
        self._rtp = None

    def place(self, rtp: int, now: float) -> int:
        """The tick of a picture with a 32-bit RTP timestamp that arrived at `now` seconds.

        Larger than any before, unless `reorders`.
        """
        if self._rtp is not None:
            step = ((rtp - self._rtp + 0x8000_0000) & 0xFFFF_FFFF) - 0x8000_0000
            raw = self._raw + step
            if abs(raw - self._anchor - (now - self._anchor_at) * VIDEO_CLOCK) <= MAX_DRIFT_S * VIDEO_CLOCK:
                return self._emit(rtp, raw, now)
            self.jumps += 1
        passed = 0.0 if self._last_at is None else max(0.0, now - self._last_at)
        self._anchor = max(self._last, 0) + round(passed * VIDEO_CLOCK)
        self._anchor_at = now
        return self._emit(rtp, self._anchor, now)

    def _emit(self, rtp: int, raw: int, now: float) -> int:
        self._rtp, self._raw, self._last_at = rtp, raw, now
        self._last = max(raw, self._last + 1)
        return max(0, raw) if self.reorders else self._last
