"""A limit per address over a sliding minute."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque

WINDOW_S = 60.0


def party(address: str) -> str:
    """Who counts as one: an IPv4 address, the /64 that a single IPv6 host may choose from; any other text as it is."""
    if ":" not in address:
        return address
    try:
        return str(ipaddress.ip_network((address, 64), strict=False))
    except ValueError:
        return address


class AddressLimiter:
    """At most `limit` hits per party and minute. Overflow rule: beyond `size` parties the oldest is forgotten."""

    def __init__(self, limit: int, size: int = 4096) -> None:
        self._limit = limit
        self._size = size
        self._hits: OrderedDict[str, deque[float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._hits)

    def full(self, address: str, now: float) -> bool:
        """True when this address has used up its minute; counts nothing."""
        hits = self._hits.get(party(address))
        while hits and hits[0] <= now - WINDOW_S:
            hits.popleft()
        return hits is not None and len(hits) >= self._limit

    def take(self, address: str, now: float) -> bool:
        """Counts one; False, and nothing counted, when this address has used up its minute."""
        if self.full(address, now):
            return False
        self.hit(address, now)
        return True

    def hit(self, address: str, now: float) -> None:
        """Counts one."""
        who = party(address)
        hits = self._hits.setdefault(who, deque(maxlen=self._limit))
        hits.append(now)
        self._hits.move_to_end(who)
        if len(self._hits) > self._size:
            self._hits.popitem(last=False)
