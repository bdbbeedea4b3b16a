"""Whole pictures out of RTP packets: complete at the marker, in order, and never one that refers to a lost one.

Sequence numbers are unwrapped; `now` is in seconds of any clock that does not go back.
"""

from __future__ import annotations

from dataclasses import dataclass

from edge_node.rtp.keyframes import UNKNOWN, Look
from edge_node.rtp.nack import Holes
from edge_node.rtp.timeline import Timeline

MAX_SPAN = 1024
"""Packets, missing ones included."""
MAX_BYTES = 4_000_000
"""Overflow rule of what waits for a missing packet, by either bound: it goes, pictures go on with a keyframe."""
MAX_GAP = 256
"""So many packets lost at once are older than any repair: no use asking for them."""
MAX_BEHIND = 3000
"""RFC 3550 appendix A.1 takes 100, but repairs come late; a number further behind is a sender that started anew."""
PLI_S = 0.25
RESTART_TICKS = 3000
"""One picture at 30 a second and 90 kHz."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One packet: 16-bit number, 32-bit timestamp, marker, the bytes it adds to its picture (none: padding).

    `repair`: it may have been sent because it was asked for.
    """

    number: int
    timestamp: int
    ends: bool
    data: bytes
    look: Look = UNKNOWN
    repair: bool = True


@dataclass(frozen=True, slots=True)
class Frame:
    """A complete coded picture; `ticks` of 90 kHz since the first one."""

    ticks: int
    data: bytes
    key: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for these packets again (RFC 4585 section 6.2.1), by their 16-bit numbers."""

    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AskKeyframe:
    """Ask for a keyframe (RFC 4585 section 6.3.1)."""


Output = Frame | Ask | AskKeyframe


@dataclass(slots=True)
class Counters:
    """Since the start: `frames` handed on, `skipped` whole ones that could not be shown for want of a keyframe,
    `holes` packets missed, `nacks` numbers asked for, `plis` keyframes asked for, `given_up` times a hole was left
    open, `dropped` packets that came twice or too late.
    """

    frames: int = 0
    skipped: int = 0
    holes: int = 0
    nacks: int = 0
    plis: int = 0
    given_up: int = 0
    dropped: int = 0


class Assembler:
    """add() each packet as it comes, tick() at `deadline`; both say what to do now."""

    def __init__(self) -> None:
        self.counters = Counters()
        self._timeline = Timeline()
        self._holes = Holes()
        self._packets: dict[int, Piece] = {}
        self._bytes = 0
        self._next: int | None = None
        """The first packet of the next frame."""
        self._cursor = 0
        """From `_next` up to here packets of one frame are there."""
        self._newest = 0
        self._clean = False
        """The packet before `_next` ended a frame."""
        self._waiting = True
        """For a keyframe: nothing else can be decoded."""
        self._asking = False
        """That keyframe does not come by itself."""
        self._asked_at: float | None = None
        self._heard = False
        """A packet came after asking: somebody is there to ask again."""
        self._key_number: int | None = None
        self._finished: int | None = None
        """The timestamp of the last frame."""
        self._trusted = True
        """The marker ends a picture (RFC 6184 section 5.1); some senders mark each part of it."""

    @property
    def rtt_s(self) -> float | None:
        """To the sender and back, from questions and repairs; None before the first."""
        return self._holes.rtt_s

    @property
    def deadline(self) -> float | None:
        """When tick() has something to do."""
        holes = self._holes.deadline
        if self._asked_at is None or not self._may_ask:
            return holes
        again = self._asked_at + self._pli_s
        return again if holes is None else min(again, holes)

    def add(self, piece: Piece, now: float) -> list[Output]:
        """One packet, new, late, or for the second time."""
        number = self._place(piece.number, now)
        if number is None:
            self.counters.dropped += 1
            return []
        self._heard = True
        self._packets[number] = piece
        self._bytes += len(piece.data)
        if piece.look.key:
            self._key_number = number
        if number > self._newest:
            self._newest = number
        else:
            self._holes.fill(number, now, repair=piece.repair)
        if self._waiting:
            self._jump(number)
        out: list[Output] = [*self._drain()]
        if self._newest - self._first >= MAX_SPAN or self._bytes > MAX_BYTES:
            out += self._give_up(self._newest)
        return out + self._questions(now)

    def tick(self, now: float) -> list[Output]:
        """Asks again, or gives up."""
        out: list[Output] = []
        while (last := self._holes.expired(now)) is not None:
            out += self._give_up(last)
        return out + self._questions(now)

    def refuse(self, now: float) -> list[Output]:
        """A frame could not be decoded: no other can, before a keyframe."""
        self._waiting = self._asking = True
        return self._questions(now)

    def restart(self) -> None:
        """Another sender follows, with numbers and timestamps of its own."""
        self._packets.clear()
        self._bytes = 0
        self._holes.forget(self._newest)
        self._next = self._finished = self._key_number = None
        self._clean, self._waiting, self._asking = False, True, False
        self._timeline.restart(RESTART_TICKS)

    # Order

    @property
    def _first(self) -> int:
        assert self._next is not None
        return self._next

    def _place(self, number: int, now: float) -> int | None:
        """The unwrapped number of a packet that is wanted; None for others."""
        if self._next is not None:
            at = self._newest + (number - self._newest + 2**15) % 2**16 - 2**15
            if at >= self._next - MAX_BEHIND:
                return self._fit(at, now)
            self.restart()
        self._next = self._cursor = number
        self._newest = number - 1
        return number

    def _fit(self, at: int, now: float) -> int | None:
        if at < self._first or at in self._packets:
            return None
        gap = at - self._newest - 1
        if gap > 0:
            self.counters.holes += gap
        if gap > MAX_GAP:
            self._leave(at)
        else:
            self._holes.open(self._newest + 1, at, now)
        return at

    def _ends(self, piece: Piece) -> bool:
        return piece.ends and self._trusted

    def _drain(self) -> list[Frame]:
        """All frames that are complete and in order."""
        out: list[Frame] = []
        while (piece := self._packets.get(self._cursor)) is not None:
            other = self._cursor > self._first and piece.timestamp != self._packets[self._first].timestamp
            if not other:
                self._cursor += 1
            if other or self._ends(piece):
                out += self._finish(self._cursor)
        return out

    def _finish(self, stop: int) -> list[Frame]:
        """Takes the frame from `_next` up to, not with, `stop`; nothing when it may not be shown."""
        begun = self._clean or self._packets[self._first].look.starts
        pieces = self._take(stop)
        self._clean = True
        data = b"".join(piece.data for piece in pieces)
        if not data:  # padding, sent to probe the path
            return []
        if pieces[0].timestamp == self._finished:
            self._trusted = False
        self._finished = pieces[0].timestamp
        key = any(piece.look.key for piece in pieces)
        if self._waiting and not (key and begun):
            self.counters.skipped += 1
            self._asking = True
            return []
        self._waiting = self._asking = False
        self.counters.frames += 1
        return [Frame(self._timeline.map(pieces[0].timestamp), data, key)]

    def _take(self, stop: int) -> list[Piece]:
        """Removes all packets below `stop`, where the next frame begins."""
        pieces = [p for p in (self._packets.pop(n, None) for n in range(self._first, stop)) if p is not None]
        self._bytes -= sum(len(p.data) for p in pieces)
        self._next = self._cursor = stop
        return pieces

    # Holes

    def _give_up(self, last: int) -> list[Frame]:
        """Leaves the holes up to `last`, for a keyframe that is there, else for one that must be asked for."""
        keys = sorted((n for n, piece in self._packets.items() if piece.look.key), reverse=True)
        if not any(self._jump(n) for n in keys):
            self._leave(last + 1)
        return self._drain()

    def _jump(self, number: int) -> bool:
        """Goes on with the frame that this packet belongs to, if it is a complete keyframe."""
        found = self._keyframe_of(number)
        if found is None:
            return False
        if self._holes.forget(found):
            self.counters.given_up += 1
        self._take(found)
        self._clean = self._waiting = True
        return True

    def _keyframe_of(self, number: int) -> int | None:
        """Where the complete keyframe begins that has this packet; None if it is not one."""
        packets, timestamp = self._packets, self._packets[number].timestamp
        first = number
        while (before := packets.get(first - 1)) and not self._ends(before) and before.timestamp == timestamp:
            first -= 1
        begun = before is not None or packets[first].look.starts or (first == self._next and self._clean)
        last = first
        while not self._ends(packets[last]) and (after := packets.get(last + 1)) and after.timestamp == timestamp:
            last += 1
        whole = self._ends(packets[last]) or last + 1 in packets
        key = any(packets[n].look.key for n in range(first, last + 1))
        return first if begun and whole and key else None

    def _leave(self, stop: int) -> None:
        """Goes on at `stop`, whatever is there, and waits for a keyframe."""
        self._take(stop)
        self._holes.forget(stop)
        self._clean = False
        self._waiting = self._asking = True
        self.counters.given_up += 1

    # Questions

    @property
    def _pli_s(self) -> float:
        return max(PLI_S, self._holes.repeat_s)

    @property
    def _may_ask(self) -> bool:
        """No keyframe is under way already, and there is somebody to ask."""
        return self._asking and self._heard and self._key_number not in self._packets

    def _questions(self, now: float) -> list[Output]:
        out: list[Output] = []
        numbers = self._holes.ask(now)
        if numbers:
            self.counters.nacks += len(numbers)
            out.append(Ask(tuple(number % 2**16 for number in numbers)))
        if self._may_ask and (self._asked_at is None or self._asked_at + self._pli_s <= now):
            self._asked_at = now
            self._heard = False
            self.counters.plis += 1
            out.append(AskKeyframe())
        return out
