"""What was sent lately, for receivers that ask for it again."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from edge_node.rtp.packetize import Cut

HISTORY_S = 1.5
MAX_PACKETS = 4000
# Receivers and libsrtp remember the numbers of 1024 packets: what is older must not be sent again under its number.
MAX_PACKETS_PLAIN = 1000


class Burst(NamedTuple):
    """Packets `start` to `stop` of one unit that left together; payloads are shared with all other viewers.

    `first` is the unwrapped sequence number of packet 0 of the unit, `extension` what stood in the headers, `group`
    counts keyframes.
    """

    first: int
    start: int
    stop: int
    cut: Cut
    timestamp: int
    extension: bytes
    sent_at: float
    group: int


class History:
    """The bursts of the last HISTORY_S seconds, at most `max_packets` packets; the oldest leave first."""

    def __init__(self, max_packets: int = MAX_PACKETS, max_s: float = HISTORY_S) -> None:
        self._max_packets = max_packets
        self._max_s = max_s
        self._bursts: deque[Burst] = deque()
        self._packets = 0
        self._newest = 0

    def __len__(self) -> int:
        return self._packets

    def add(self, burst: Burst) -> None:
        """Remembers it; bursts come in the order of their numbers."""
        bursts = self._bursts
        bursts.append(burst)
        self._newest = burst.first + burst.stop - 1
        self._packets += burst.stop - burst.start
        oldest_at = burst.sent_at - self._max_s
        while bursts[0].sent_at < oldest_at or (self._packets > self._max_packets and len(bursts) > 1):
            gone = bursts.popleft()
            self._packets -= gone.stop - gone.start

    def find(self, number: int) -> tuple[Burst, int] | None:
        """The burst that a 16-bit sequence number belongs to, with the index of its payload."""
        wanted = self._newest - (self._newest - number & 0xFFFF)
        for burst in reversed(self._bursts):
            index = wanted - burst.first
            if burst.start <= index < burst.stop:
                return burst, index
            if index >= burst.stop:
                return None
        return None

    def beyond(self, number: int) -> tuple[int, float | None, float | None]:
        """Of the packets after a 16-bit sequence number: their bytes, when the first left; when that number left."""
        wanted = self._newest - (self._newest - number & 0xFFFF)
        size, left_at = 0, None
        for burst in reversed(self._bursts):
            split = max(burst.start, wanted + 1 - burst.first)
            if split < burst.stop:
                size += sum(map(len, burst.cut.payloads[split : burst.stop]))
                left_at = burst.sent_at
            if split > burst.start:
                return size, left_at, burst.sent_at
        return size, left_at, None
