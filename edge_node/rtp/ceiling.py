"""Keeps pictures of a camera that cannot be asked for fewer bits below a rate that is set for them."""

from __future__ import annotations

from edge_node.rtp.thinning import DEPTH_S

LIMITED_FOR_S = 5.0


class Ceiling:
    """Lets pictures through while a bucket of bytes lasts, then none until the next keyframe; so all can be decoded.

    A stream that stays below `kbps` on average loses nothing. `skipped` counts the pictures left out.
    """

    def __init__(self, kbps: int) -> None:
        self.kbps = kbps
        self.skipped = 0
        self._bytes = kbps * 125 * DEPTH_S
        self._at: float | None = None
        self._skips = False
        self._skipped_at = float("-inf")

    def admits(self, size: int, keyframe: bool, now: float) -> bool:
        """Whether this picture of so many bytes goes out."""
        depth = self.kbps * 125 * DEPTH_S
        passed = 0.0 if self._at is None else now - self._at
        self._bytes, self._at = min(depth, self._bytes + passed * self.kbps * 125), now
        if keyframe:
            # Half of it may be owed: without it nothing can be shown before the next one.
            self._skips = self._bytes < min(size, depth) / 2
        elif self._bytes < size:
            self._skips = True
        if self._skips:
            self.skipped += 1
            self._skipped_at = now
            return False
        self._bytes -= size
        return True

    def limits(self, now: float) -> bool:
        """Whether pictures were left out a moment ago."""
        return now - self._skipped_at < LIMITED_FOR_S
