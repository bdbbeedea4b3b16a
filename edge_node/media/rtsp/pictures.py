"""Coded pictures out of RTP packets, whatever their codec (RFC 3550)."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from edge_node.media.rtsp.timeline import Timeline
from edge_node.ports import VIDEO_CLOCK, AccessUnit

MAX_UNIT_BYTES = 4 << 20
"""A picture larger than this is dropped: it bounds the memory that a broken or hostile camera can take."""
_FIXED = struct.Struct("!HII")  # sequence number, timestamp, SSRC: RFC 3550 section 5.1
_MAX_MISORDER = 100  # RFC 3550 section A.1: nearer than this behind is late, further behind is another sequence
_NONE: tuple[AccessUnit, ...] = ()


@dataclass(slots=True)
class Counters:
    """What happened to packets and pictures since the source was made."""

    packets: int = 0
    units: int = 0
    keyframes: int = 0
    lost_packets: int = 0
    """Missing sequence numbers."""
    late_packets: int = 0
    """Came twice or out of order."""
    bad_packets: int = 0
    """Not RTP, another payload type, or not packed as the codec's RFC says."""
    dropped_units: int = 0
    """Pictures with a hole, and those between a hole (or the start) and the next keyframe."""
    b_pictures: int = 0


def payload_of(packet: bytes | memoryview, payload_type: int) -> bytes | memoryview | None:
    """What the RTP header leaves (RFC 3550 section 5.1), or None when this is not a packet of that type."""
    size = len(packet)
    if size < 12 or packet[0] >> 6 != 2 or packet[1] & 0x7F != payload_type:
        return None
    flags = packet[0]
    at = 12
    if flags & 0x3F:
        at += 4 * (flags & 0x0F)
        if flags & 0x10:
            if at + 4 > size:
                return None
            at += 4 + 4 * (packet[at + 2] << 8 | packet[at + 3])
        if flags & 0x20:
            size -= packet[size - 1]
        if at > size:
            return None
    return packet[at:size]


class Pictures(ABC):
    """One RTP stream of one session; parameter sets, timeline and counters outlive it.

    A hole in the sequence numbers drops everything up to the next whole keyframe: half pictures smear for seconds.
    """

    decode_as: str | None = None
    """As in AccessUnit."""

    def __init__(self, payload_type: int, timeline: Timeline, counters: Counters | None = None) -> None:
        self.counters = counters or Counters()
        self.heard_at: float | None = None
        """When the last packet of this stream came."""
        self.markers_lie = False
        """The camera ends packets, not pictures, with the RTP marker: pictures end when the timestamp changes."""
        self.keyframe_gap_s: float | None = None
        """Between the last two keyframes."""
        self._payload_type = payload_type
        self._timeline = timeline
        self._timeline.restart()
        self._ssrc: int | None = None
        self._next: int | None = None
        self._restart: int | None = None  # where a sequence that jumped back would go on (RFC 3550 section A.1)
        self._waiting = True  # for a keyframe
        self._rtp: int | None = None
        self._closed = True  # the picture at _rtp is finished
        self._continues = False  # the picture before this one had the same timestamp
        self._new_sets = False  # not yet handed through: they go in front of the next picture
        self._last_keyframe: int | None = None
        self._clear()

    def _clear(self) -> None:
        self._unit = bytearray()
        self._keyframe = self._bad = self._sliced = self._in_fu = False
        self._since = 0.0

    def feed(self, packet: bytes | memoryview, now: float) -> Sequence[AccessUnit]:
        """Takes one packet that arrived at `now` and gives the pictures it completed: at most two. Never raises."""
        payload = payload_of(packet, self._payload_type)
        if payload is None:
            self.counters.bad_packets += 1
            return _NONE
        sequence, rtp, ssrc = _FIXED.unpack_from(packet, 2)
        self.heard_at = now
        self.counters.packets += 1
        if not self._in_order(sequence, ssrc, rtp):
            return _NONE
        finished = self._finish() if rtp != self._rtp and not self._closed else None
        if self._closed or rtp != self._rtp:
            self._open(rtp, now)
        if len(payload):
            self._take_or_spoil(payload)
        # Some cameras mark every packet: a piece of a unit ends no picture, whatever it says.
        marked = packet[1] & 0x80 and not self.markers_lie and not self._in_fu
        marked_unit = self._finish() if marked else None
        if finished is None and marked_unit is None:
            return _NONE
        return [unit for unit in (finished, marked_unit) if unit is not None]

    def _in_order(self, sequence: int, ssrc: int, rtp: int) -> bool:
        """Notices holes; False for a packet that came too late to be of use."""
        if sequence == self._next and ssrc == self._ssrc:
            self._next = (sequence + 1) & 0xFFFF
            return True
        if ssrc != self._ssrc or self._next is None:
            if self._ssrc is not None:
                self._timeline.restart()
            self._hole(rtp=None)
        else:
            missing = (sequence - self._next) & 0xFFFF
            late = missing >= 0x8000
            if late and (missing >= 0x10000 - _MAX_MISORDER or sequence != self._restart):
                self._restart = (sequence + 1) & 0xFFFF
                self.counters.late_packets += 1
                return False
            self.counters.lost_packets += 0 if late else missing
            self._hole(rtp)
        self._ssrc, self._next, self._restart = ssrc, (sequence + 1) & 0xFFFF, None
        return True

    def _hole(self, rtp: int | None) -> None:
        """Packets are missing in front of one with this timestamp: the open picture is lost."""
        self._waiting = True
        if self._closed:
            return
        if rtp == self._rtp:
            self._spoil()
        else:
            self.counters.dropped_units += 1
            self._closed = True

    def _spoil(self) -> None:
        """The open picture cannot be used any more: forget what was gathered of it."""
        self._bad = True
        self._unit = bytearray()

    def _open(self, rtp: int, now: float) -> None:
        continues = self._closed and rtp == self._rtp
        self._clear()
        self._rtp, self._since, self._closed = rtp, now, False
        self._continues = continues

    def _finish(self) -> AccessUnit | None:
        """Ends the open picture; gives it when it is whole, decodable and really a picture."""
        self._closed = True
        counters = self.counters
        front = self._front()
        if self._bad or (self._waiting and self._sliced and not (self._keyframe and front is not None)):
            self._waiting = True
            counters.dropped_units += 1
            self._unit = bytearray()
            return None
        if not self._sliced or self._rtp is None:
            return None
        prefixed = self._keyframe or self._new_sets
        data = (front or b"") + self._unit if prefixed else bytes(self._unit)
        self._unit = bytearray()
        self._waiting = self._new_sets = False
        tick = self._timeline.place(self._rtp, self._since)
        counters.units += 1
        if self._keyframe:
            counters.keyframes += 1
            if self._last_keyframe is not None:
                self.keyframe_gap_s = (tick - self._last_keyframe) / VIDEO_CLOCK
            self._last_keyframe = tick
        return AccessUnit(data, self._keyframe, tick, self._since, self.decode_as)

    def _append(self, data: bytes | memoryview) -> None:
        if self._bad:
            return
        if len(self._unit) + len(data) > MAX_UNIT_BYTES:
            self._spoil()
            return
        self._unit += data

    def _take_or_spoil(self, payload: bytes | memoryview) -> None:
        if not self._take(payload):
            self.counters.bad_packets += 1
            self._waiting = True
            self._spoil()

    @abstractmethod
    def _take(self, payload: bytes | memoryview) -> bool:
        """Adds one payload (never empty) to the open picture; False when it is not packed as it should be."""

    @abstractmethod
    def _front(self) -> bytes | None:
        """What goes in front of a keyframe; None while it is not known."""
