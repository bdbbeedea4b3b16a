"""H.264 pictures out of RTP packets (RFC 6184)."""

from __future__ import annotations

from edge_node.media.rtsp.nal import (
    DELIMITER,
    FILLER,
    FU_A,
    IDR_SLICE,
    PPS,
    SLICE,
    SPS,
    STAP_A,
    START_CODE,
    ParameterSets,
    is_b_slice,
    starts_picture,
)
from edge_node.media.rtsp.pictures import Counters, Pictures
from edge_node.media.rtsp.timeline import Timeline


class Depacketizer(Pictures):
    """H.264, to be handed through unless it has B pictures."""

    def __init__(
        self,
        payload_type: int,
        sets: ParameterSets,
        timeline: Timeline,
        counters: Counters | None = None,
        *,
        b_pictures: bool = False,
    ) -> None:
        """`b_pictures`: the session before had some."""
        super().__init__(payload_type, timeline, counters)
        self._sets = sets
        self._judge(b_pictures=b_pictures)

    # NAL units

    def _front(self) -> bytes | None:
        return self._sets.prefix or None

    def _take(self, payload: bytes | memoryview) -> bool:
        kind = payload[0] & 0x1F
        if kind == FU_A:
            return self._fragment(payload)
        if kind == STAP_A:
            return self._aggregate(payload)
        return self._nal(payload)  # a single unit; no interleaved mode: the SDP excluded that

    def _aggregate(self, payload: bytes | memoryview) -> bool:
        """STAP-A: several NAL units, each behind a 16-bit size (RFC 6184 section 5.7.1)."""
        at, end = 1, len(payload)
        while at + 2 < end:
            size = payload[at] << 8 | payload[at + 1]
            at += 2
            if not 0 < size <= end - at or not self._nal(payload[at : at + size]):
                return False
            at += size
        return at == end

    def _fragment(self, payload: bytes | memoryview) -> bool:
        """FU-A: a piece of a NAL unit (RFC 6184 section 5.8)."""
        if len(payload) < 3:
            return False
        mark = payload[1]
        if mark & 0x80:
            kind = mark & 0x1F
            if not 0 < kind < STAP_A:
                return False
            self._slice(kind, payload[2])
            self._append(START_CODE)
            self._append(bytes((payload[0] & 0xE0 | kind,)))
        elif not self._in_fu:
            if not self._bad:
                self._spoil()
            return True  # the tail of a unit whose head was lost, not a mistake
        self._in_fu = not mark & 0x40
        self._append(payload[2:])
        return True

    def _nal(self, nal: bytes | memoryview) -> bool:
        kind = nal[0] & 0x1F
        if kind in (SPS, PPS):
            if self._sets.add(nal):
                self._new_sets = True
                self._judge(b_pictures=False)  # the camera was set up anew: perhaps without them
            return True
        if kind in (DELIMITER, FILLER):
            return True
        if not 0 < kind < STAP_A:
            return False
        self._slice(kind, nal[1] if len(nal) > 1 else 0)
        self._append(START_CODE)
        self._append(nal)
        return True

    def _slice(self, kind: int, byte: int) -> None:
        """Looks at the first byte of a unit; the first slice tells what the picture is, and whether it is whole."""
        if kind not in (SLICE, IDR_SLICE):
            return
        self._keyframe |= kind == IDR_SLICE
        if self._sliced:
            return
        self._sliced = True
        if starts_picture(byte):
            if is_b_slice(byte):
                self.counters.b_pictures += 1
                self._judge(b_pictures=True)
        elif self._waiting:
            self._spoil()
        elif self._continues:
            self.markers_lie = True
            self._waiting = True
            self._spoil()

    def _judge(self, *, b_pictures: bool) -> None:
        """Pictures that refer to later ones come out of the order of showing, which browsers do not put right."""
        self.decode_as = "h264" if b_pictures else None
        self._timeline.reorders = b_pictures
