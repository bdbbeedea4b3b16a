"""A limit per address over a sliding minute."""

from __future__ import annotations

from collections import OrderedDict, deque

WINDOW_S = 60.0


class AddressLimiter:
    """At most `limit` hits per address and minute. Overflow rule: beyond `size` addresses the oldest is forgotten."""

    def __init__(self, limit: int, size: int = 4096) -> None:
        self._limit = limit
        self._size = size
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hits)

    def full(self, address: str, now: float) -> bool:
        """True when this address has used up its minute; counts nothing."""
        hits = self._hits.get(address)
        while hits and hits[0] <= now - WINDOW_S:
            hits.popleft()
        return hits is not None and len(hits) >= self._limit

    def hit(self, address: str, now: float) -> None:
        """Counts one."""
        hits = self._hits.setdefault(address, deque(maxlen=self._limit))
        hits.append(now)
        self._hits.move_to_end(address)
        if len(self._hits) > self._size:
            self._hits.popitem(last=False)
