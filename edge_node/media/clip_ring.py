"""The last seconds of coded pictures with their sound, from a keyframe on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

GAP_S = 5.0
"""So long without a picture, or pre_s if that is longer, and what was before is another story."""
JUMP_S = 1.0
"""A stream whose time runs away from the clock by more than this has begun anew."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One coded picture (Annex B) or Opus packet; `at_s` on the node's clock."""

    data: bytes
    at_s: float
    keyframe: bool
    sound: bool = False


class MediaTime:
    """Puts a stream's own timestamps on the node's clock: the least delay ever seen is taken for none."""

    def __init__(self) -> None:
        self._offset_s: float | None = None

    def place(self, media_s: float, arrived_s: float) -> float:
        """When a packet with this timestamp (seconds) was taken."""
        offset = arrived_s - media_s
        if self._offset_s is None or offset < self._offset_s or offset > self._offset_s + JUMP_S:
            self._offset_s = offset
        return media_s + self._offset_s


class ClipRing:
    """At most `max_bytes`, at least the last `pre_s` seconds if a keyframe came before them and no gap.

    Overflow rule: the oldest group of pictures goes, with its sound; a group that is too large alone goes as a whole,
    and the ring waits for the next keyframe. `overflows` counts both.
    """

    def __init__(self, pre_s: float, max_bytes: int) -> None:
        self._pre_s = pre_s
        self._max_bytes = max_bytes
        self._pictures: deque[Piece] = deque()
        self._sound: deque[Piece] = deque()
        self._bytes = 0
        self.overflows = 0

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def newest_keyframe_s(self) -> float | None:
        """When the last keyframe in here was taken."""
        return next((piece.at_s for piece in reversed(self._pictures) if piece.keyframe), None)

    def put(self, piece: Piece) -> None:
        """Takes a piece; sound and pictures before the first keyframe are of no use, nor what was before a long gap."""
        if not piece.sound and self._is_old(piece.at_s):
            self.clear()
        if not self._pictures and (piece.sound or not piece.keyframe):
            return
        (self._sound if piece.sound else self._pictures).append(piece)
        self._bytes += len(piece.data)
        if piece.keyframe and not piece.sound:
            self._trim(piece.at_s - self._pre_s)
        while self._bytes > self._max_bytes:
            self.overflows += 1
            self._drop_group()

    def clear(self) -> None:
        """Forgets everything."""
        self._pictures.clear()
        self._sound.clear()
        self._bytes = 0

    def pieces(self, now: float) -> list[Piece]:
        """Everything, a keyframe first, in the order of time; nothing when the camera has been away since."""
        if not self._pictures or self._is_old(now):
            return []
        begin = self._pictures[0].at_s
        rest = [*list(self._pictures)[1:], *(piece for piece in self._sound if piece.at_s >= begin)]
        return [self._pictures[0], *sorted(rest, key=lambda piece: piece.at_s)]

    def _is_old(self, now: float) -> bool:
        return bool(self._pictures) and now - self._pictures[-1].at_s > max(GAP_S, self._pre_s)

    def _trim(self, wanted_from_s: float) -> None:
        """Drops groups while the next one begins early enough."""
        while True:
            following = next((p for i, p in enumerate(self._pictures) if i and p.keyframe), None)
            if following is None or following.at_s > wanted_from_s:
                return
            self._drop_group()

    def _drop_group(self) -> None:
        self._bytes -= len(self._pictures.popleft().data)
        while self._pictures and not self._pictures[0].keyframe:
            self._bytes -= len(self._pictures.popleft().data)
        until = self._pictures[0].at_s if self._pictures else float("inf")
        while self._sound and self._sound[0].at_s < until:
            self._bytes -= len(self._sound.popleft().data)
