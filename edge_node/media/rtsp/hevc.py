"""H.265 pictures out of RTP packets (RFC 7798), to be decoded here."""

from __future__ import annotations

from edge_node.media.rtsp.nal import MAX_PARAMETER_SET_BYTES, START_CODE, starts_picture
from edge_node.media.rtsp.pictures import Counters, Pictures
from edge_node.media.rtsp.timeline import Timeline

VPS, SPS, PPS, DELIMITER, FILLER, AGGREGATE, FRAGMENT = 32, 33, 34, 35, 38, 48, 49
"""NAL unit types: ITU-T H.265 table 7-1, and RFC 7798 section 4.4 for the last two."""
_LAST_SLICE = 31
_KEYFRAMES = range(16, 22)  # BLA, IDR and CRA pictures: decoding can begin there


def kind_of(nal: bytes | memoryview) -> int:
    """nal_unit_type (ITU-T H.265 section 7.3.1.2)."""
    return nal[0] >> 1 & 0x3F


class HevcSets:
    """The newest VPS, SPS and PPS, for keyframes that bring none along."""

    def __init__(self) -> None:
        self._sets: dict[int, bytes] = {}

    @property
    def prefix(self) -> bytes:
        """All three in Annex B form; empty until all are known."""
        if len(self._sets) < 3:
            return b""
        return b"".join(START_CODE + self._sets[kind] for kind in (VPS, SPS, PPS))

    def add(self, nal: bytes | memoryview) -> None:
        """Keeps a parameter set; everything else is left alone."""
        if 2 < len(nal) <= MAX_PARAMETER_SET_BYTES and kind_of(nal) in (VPS, SPS, PPS):
            self._sets[kind_of(nal)] = bytes(nal)


class HevcPictures(Pictures):
    """H.265; its timestamps are those of showing, while pictures come in the order of decoding."""

    decode_as = "hevc"

    def __init__(self, payload_type: int, sets: HevcSets, timeline: Timeline, counters: Counters | None = None) -> None:
        super().__init__(payload_type, timeline, counters)
        self._sets = sets
        self._timeline.reorders = True

    def _front(self) -> bytes | None:
        return self._sets.prefix or None

    def _take(self, payload: bytes | memoryview) -> bool:
        if len(payload) < 3:
            return False
        match kind_of(payload):
            case 48:
                return self._aggregate(payload)
            case 49:
                return self._fragment(payload)
            case _:
                return self._nal(payload)

    def _aggregate(self, payload: bytes | memoryview) -> bool:
        """Several NAL units, each behind a 16-bit size (RFC 7798 section 4.4.2)."""
        at, end = 2, len(payload)
        while at + 2 < end:
            size = payload[at] << 8 | payload[at + 1]
            at += 2
            if not 2 < size <= end - at or not self._nal(payload[at : at + size]):
                return False
            at += size
        return at == end

    def _fragment(self, payload: bytes | memoryview) -> bool:
        """A piece of a NAL unit (RFC 7798 section 4.4.3)."""
        if len(payload) < 4:
            return False
        mark = payload[2]
        kind = mark & 0x3F
        if mark & 0x80:
            if kind >= AGGREGATE:
                return False
            self._slice(kind, payload[3])
            self._append(START_CODE + bytes((payload[0] & 0x81 | kind << 1, payload[1])))
        elif not self._in_fu:
            if not self._bad:
                self._spoil()
            return True  # the tail of a unit whose head was lost, not a mistake
        self._in_fu = not mark & 0x40
        self._append(payload[3:])
        return True

    def _nal(self, nal: bytes | memoryview) -> bool:
        kind = kind_of(nal)
        if kind in (DELIMITER, FILLER):
            return True
        if kind >= AGGREGATE:
            return False
        if kind in (VPS, SPS, PPS):
            self._sets.add(nal)
            return True
        self._slice(kind, nal[2])
        self._append(START_CODE)
        self._append(nal)
        return True

    def _slice(self, kind: int, byte: int) -> None:
        """Looks at the first slice, which tells what the picture is, and whether it is whole."""
        if kind > _LAST_SLICE:
            return
        self._keyframe |= kind in _KEYFRAMES
        if self._sliced:
            return
        self._sliced = True
        if starts_picture(byte):  # first_slice_segment_in_pic_flag stands where first_mb_in_slice = 0 does
            return
        if self._continues:
            self.markers_lie = True
        if self._waiting or self._continues:
            self._waiting = True
            self._spoil()
