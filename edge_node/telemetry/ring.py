"""Samples that wait for the network."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from edge_node.telemetry.sample import Sample

DEFAULT_SIZE = 1000


class Ring:
    """Keeps the newest `size` samples in order. Overflow rule: the oldest is dropped, counted in `dropped`."""

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        self._items: deque[Sample] = deque()
        self._size = size
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def put(self, sample: Sample) -> None:
        """Keeps a sample that could not be sent."""
        if len(self._items) >= self._size:
            self._items.popleft()
            self.dropped += 1
        self._items.append(replace(sample, late=True))

    def first(self) -> Sample | None:
        """The oldest sample, marked late; it stays until sent() confirms it."""
        return self._items[0] if self._items else None

    def sent(self, sample: Sample) -> None:
        """What first() gave went out; nothing happens when it was dropped meanwhile."""
        if self._items and self._items[0] == sample:
            self._items.popleft()
