"""Speech that waits to be played: 16-bit bytes in, whole chunks out, with marks where an utterance ends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chunk:
    """Sound of one frame; `last` tells that an utterance ends with it."""

    data: bytes
    last: bool = False


class SpeechQueue:
    """add() bytes of any number, take() whole chunks; a mark fills its last chunk up with silence.

    Overflow rule: what does not fit in `max_bytes` is refused from its end, and counted.
    """

    def __init__(self, chunk_bytes: int, max_bytes: int) -> None:
        self._chunk = chunk_bytes
        self._max = max_bytes
        self._parts: deque[memoryview] = deque()
        self._held = 0
        self._added = 0
        self._marks: deque[int] = deque()
        """Where utterances end, in bytes since the start."""
        self.refused = 0
        """Bytes that did not fit."""

    def __len__(self) -> int:
        return self._held

    @property
    def marks(self) -> int:
        """Ends of utterances that wait to be reached."""
        return len(self._marks)

    def add(self, data: bytes) -> bytes:
        """Appends what fits, and gives it back."""
        taken = bytes(data[: self._max - self._held])
        self.refused += len(data) - len(taken)
        if taken:
            self._parts.append(memoryview(taken))
            self._held += len(taken)
            self._added += len(taken)
        return taken

    def mark(self) -> None:
        """Here ends an utterance; a second mark at the same place is none."""
        if not self._marks or self._marks[-1] != self._added:
            self._marks.append(self._added)

    def clear(self) -> None:
        """Forgets sound and marks."""
        self._parts.clear()
        self._marks.clear()
        self._held = 0

    def take(self) -> Chunk | None:
        """The next chunk; None when less than one waits and no utterance ends in it."""
        start = self._added - self._held
        if self._marks and self._marks[0] - start <= self._chunk:
            end = self._marks.popleft()
            data = self._cut(end - start)
            return Chunk(data + bytes(self._chunk - len(data)), last=True)
        return Chunk(self._cut(self._chunk)) if self._held >= self._chunk else None

    def _cut(self, size: int) -> bytes:
        pieces, missing = [], size
        while missing:
            part = self._parts.popleft()
            if len(part) > missing:
                self._parts.appendleft(part[missing:])
                part = part[:missing]
            pieces.append(part)
            missing -= len(part)
        self._held -= size
        return b"".join(pieces)
