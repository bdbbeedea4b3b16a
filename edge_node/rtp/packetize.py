"""One coded picture, or 20 ms of sound, cut into RTP payloads once for all who send it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

SEGMENT_BYTES = 1200
"""A payload of this size fits every path that WebRTC meets, relays and tunnels included."""
MAX_RUN = 44
"""Packets that leave in one system call: 44 × 1.3 kB stay below the 64 kB of a datagram that the kernel cuts."""
NAL_SLICE_IDR, NAL_DELIMITER, NAL_FILLER = 5, 9, 12
STAP_A, FU_A = 24, 28
_USELESS = frozenset({NAL_DELIMITER, NAL_FILLER})  # say nothing that the RTP headers do not say
_START, _END = 0x80, 0x40  # FU header, RFC 6184 section 5.8


class Cut:
    """The payloads of one unit; `runs` are spans of them, in order, of equal sizes but for a shorter last one."""

    __slots__ = ("payloads", "runs", "size")

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self.payloads = tuple(payloads)
        sizes = [len(payload) for payload in self.payloads]
        self.size = sum(sizes)
        self.runs = tuple(_runs(sizes))


def _runs(sizes: Sequence[int]) -> Sequence[tuple[int, int]]:
    runs, start = [], 0
    for index in range(1, len(sizes)):
        full = sizes[start]
        if sizes[index - 1] < full or sizes[index] > full or index - start == MAX_RUN:
            runs.append((start, index))
            start = index
    if sizes:
        runs.append((start, len(sizes)))
    return runs


class Unit:
    """What a track gives all its viewers at once: coded data with what becomes of it on the wire, made once.

    `mime_type` decides how it is cut. Nobody changes a unit. `level_dbov` is the loudness of sound (RFC 6464).
    """

    __slots__ = ("_cut", "data", "keyframe", "level_dbov", "mime_type")

    def __init__(self, data: bytes, mime_type: str, *, keyframe: bool = True, level_dbov: int | None = None) -> None:
        self.data = data
        self.mime_type = mime_type
        self.keyframe = keyframe
        self.level_dbov = level_dbov
        self._cut: Cut | None = None

    @property
    def cut(self) -> Cut:
        if self._cut is None:
            payloads_of = _PAYLOADS.get(self.mime_type.lower(), whole)
            self._cut = Cut(payloads_of(self.data))
        return self._cut


def nals(data: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex B stream, without start codes."""
    start = data.find(b"\0\0\1")
    while start >= 0:
        start += 3
        end = data.find(b"\0\0\1", start)
        # Zeros in front of a start code belong to it (Annex B, trailing_zero_8bits).
        nal = data[start:] if end < 0 else data[start:end].rstrip(b"\0")
        if nal:
            yield nal
        start = end


def h264(data: bytes) -> list[bytes]:
    """Payloads of an Annex B access unit (RFC 6184, packetization-mode 1): STAP-A, single NAL units, FU-A."""
    payloads: list[bytes] = []
    small: list[bytes] = []
    waiting = 1
    for nal in nals(data):
        if nal[0] & 0x1F in _USELESS:
            continue
        if waiting + 2 + len(nal) > SEGMENT_BYTES and small:
            payloads.append(_aggregate(small))
            small, waiting = [], 1
        if len(nal) > SEGMENT_BYTES:
            payloads.extend(_fragments(nal))
        else:
            small.append(nal)
            waiting += 2 + len(nal)
    if small:
        payloads.append(_aggregate(small))
    return payloads


def _aggregate(units: list[bytes]) -> bytes:
    """A STAP-A packet (section 5.7.1), or the only unit itself."""
    if len(units) == 1:
        return units[0]
    importance = max(nal[0] & 0x60 for nal in units)
    forbidden = 0
    for nal in units:
        forbidden |= nal[0] & 0x80
    parts = [bytes((forbidden | importance | STAP_A,))]
    for nal in units:
        parts += (len(nal).to_bytes(2, "big"), nal)
    return b"".join(parts)


def _fragments(nal: bytes) -> Iterator[bytes]:
    """FU-A packets of SEGMENT_BYTES each (section 5.8), so that the kernel can cut them; the last one is shorter."""
    indicator, kind = nal[0] & 0xE0 | FU_A, nal[0] & 0x1F
    step = SEGMENT_BYTES - 2
    for start in range(1, len(nal), step):
        first = _START if start == 1 else 0
        last = _END if start + step >= len(nal) else 0
        yield bytes((indicator, first | last | kind)) + nal[start : start + step]


def vp8(data: bytes) -> list[bytes]:
    """Payloads of a VP8 frame, each behind the shortest descriptor (RFC 7741 section 4.2): only S is ever set."""
    step = SEGMENT_BYTES - 1
    return [(b"\0" if start else b"\x10") + data[start : start + step] for start in range(0, len(data), step)]


def whole(data: bytes) -> list[bytes]:
    """One payload: a frame of Opus (RFC 7587 section 4.2) or of G.711."""
    return [data] if data else []


_PAYLOADS: dict[str, Callable[[bytes], list[bytes]]] = {"video/h264": h264, "video/vp8": vp8}
