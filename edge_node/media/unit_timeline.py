"""Timestamps of coded pictures that keep growing while sources come, go, jump."""

from __future__ import annotations

from edge_node.ports import VIDEO_CLOCK

REANCHOR_S = 1.0


class UnitTimeline:
    """Puts a source's timestamps (VIDEO_CLOCK ticks from anywhere) on a track's time line, which began at `origin`.

    The source's own steps are kept, since they are steadier than the pictures' arrival; it is anchored anew when it
    strays REANCHOR_S from the arrival, or does not grow.
    """

    def __init__(self, origin: float) -> None:
        self._origin = origin
        self._offset: int | None = None
        self._last = -1

    def place(self, timestamp: int, captured_at: float) -> int:
        """The track's timestamp; always greater than the one before. `captured_at` in seconds like `origin`."""
        arrival = int((captured_at - self._origin) * VIDEO_CLOCK)
        pts = arrival if self._offset is None else timestamp + self._offset
        if pts <= self._last or abs(pts - arrival) > REANCHOR_S * VIDEO_CLOCK:
            pts = max(arrival, self._last + 1)
        self._offset = pts - timestamp
        self._last = pts
        return pts
