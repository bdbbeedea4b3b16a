"""Bounded waiting rooms for coded packets."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

from edge_node.rtp.packetize import Unit

if TYPE_CHECKING:
    import av

    Packet = av.Packet[Any]

ROUNDING_S = 1e-6
GOP_CACHE_S = 10.0
GOP_CACHE_BYTES = 4_000_000
GOP_CACHE_STALE_S = 5.0
"""What a camera gave before it fell silent for so long is not shown as if it were now."""
# While a remembered group leaves at the sender's pace, this much more of what comes meanwhile may wait behind it.
CATCH_UP_S = 4.0


class Waiting(Protocol):
    """What a queue holds; `duration_s` is how long it plays."""

    @property
    def unit(self) -> Unit: ...

    @property
    def duration_s(self) -> float: ...


class Coded(NamedTuple):
    """A coded picture or sound on its way: `pts` in ticks of its track, `duration_s` is how long it plays."""

    unit: Unit
    pts: int
    duration_s: float

    @property
    def keyframe(self) -> bool:
        return self.unit.keyframe


WaitingT = TypeVar("WaitingT", bound=Waiting)


class PacketQueue(Generic[WaitingT]):
    """At most `max_s` seconds of packets.

    Overflow rule, sound: the oldest leaves. Overflow rule, pictures: newer ones are refused until the next keyframe,
    which replaces everything that still waits; so what comes out can always be decoded. `dropped` counts both, but not
    the pictures before the very first keyframe.
    """

    def __init__(self, video: bool, max_s: float) -> None:
        self._video = video
        self._max_s = max_s
        self._items: deque[WaitingT] = deque()
        self._queued_s = 0.0
        self.dropped = 0
        self.needs_keyframe = video
        self._overflowed = False
        self._catches_up = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def starved(self) -> bool:
        """Whether pictures are refused after an overflow, until a keyframe comes."""
        return self._overflowed

    def put(self, item: WaitingT) -> None:
        """Takes a packet, or drops by the rule above."""
        if self._video:
            self._put_picture(item)
            return
        while self._is_full_for(item):
            self.pop()
            self.dropped += 1
        self._append(item)

    def preload(self, items: tuple[WaitingT, ...]) -> None:
        """Replaces the content by a whole group of pictures, which starts decodable; they should have no duration.

        CATCH_UP_S more may wait until the queue has been empty.
        """
        self.clear()
        self._catches_up = bool(items)
        self._items.extend(items)
        self.needs_keyframe = self._video and not items

    def passes(self, item: WaitingT) -> bool:
        """Whether this packet, which then counts as taken, can go past the queue: nothing waits, nothing is missing."""
        if self._items or (self.needs_keyframe and not item.unit.keyframe):
            return False
        self.needs_keyframe = self._overflowed = False
        return True

    def peek(self) -> WaitingT:
        """The oldest packet, which stays; IndexError when empty."""
        return self._items[0]

    def pop(self) -> WaitingT:
        """The oldest packet; IndexError when empty."""
        item = self._items.popleft()
        self._queued_s = max(0.0, self._queued_s - item.duration_s) if self._items else 0.0
        self._catches_up &= bool(self._items)
        return item

    def clear(self) -> None:
        """Forgets everything without counting it as dropped; pictures wait for a keyframe again."""
        self._items.clear()
        self._queued_s = 0.0
        self.needs_keyframe = self._video
        self._overflowed = self._catches_up = False

    def _put_picture(self, item: WaitingT) -> None:
        full = self._is_full_for(item)
        if item.unit.keyframe:
            if full or self.needs_keyframe:
                self.dropped += len(self._items)
                self.clear()
            self.needs_keyframe = self._overflowed = False
        elif full and not self.needs_keyframe:
            self.needs_keyframe = self._overflowed = True
        if not self.needs_keyframe:
            self._append(item)
        elif self._overflowed:
            self.dropped += 1

    def _is_full_for(self, item: WaitingT) -> bool:
        most_s = self._max_s + (CATCH_UP_S if self._catches_up else 0.0)
        return bool(self._items) and self._queued_s + item.duration_s > most_s + ROUNDING_S

    def _append(self, item: WaitingT) -> None:
        self._items.append(item)
        self._queued_s += item.duration_s


class GopCache:
    """The pictures since the last keyframe, for viewers of an encoder that cannot be asked for one.

    Bounded by GOP_CACHE_S and GOP_CACHE_BYTES: a longer group is forgotten until the next keyframe.
    """

    def __init__(self, max_s: float = GOP_CACHE_S, max_bytes: int = GOP_CACHE_BYTES) -> None:
        self._max_s = max_s
        self._max_bytes = max_bytes
        self._items: list[Coded] = []
        self._newest_at = 0.0
        self._seconds = 0.0
        self._bytes = 0

    def put(self, item: Coded, now: float) -> None:
        """Remembers a picture when its keyframe is remembered; `now` in seconds on any clock."""
        self._newest_at = now
        if item.keyframe:
            self.clear()
        elif not self._items:
            return
        self._items.append(item)
        self._seconds += item.duration_s
        self._bytes += len(item.unit.data)
        if self._seconds > self._max_s or self._bytes > self._max_bytes:
            self.clear()

    def clear(self) -> None:
        """Forgets the group."""
        self._items.clear()
        self._seconds = 0.0
        self._bytes = 0

    def group(self, now: float) -> tuple[Coded, ...]:
        """The group, keyframe first; empty when there is none, or it is older than GOP_CACHE_STALE_S."""
        return () if now - self._newest_at > GOP_CACHE_STALE_S else tuple(self._items)
