"""Clips in the codecs that viewers cannot be given: what an RTSP server sends of them."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av

from tests.support.h264 import painted

MTU = 1400
X264 = "keyint=15:min-keyint=15:bframes=2:b-adapt=0:scenecut=0:b-pyramid=0:repeat-headers=1:annexb=1"
X265 = "log-level=none:pools=none:frame-threads=1:keyint=15:min-keyint=15:bframes=2:b-adapt=0:open-gop=0"
ENCODERS = {
    "H264": ("libx264", "yuv420p", {"preset": "superfast", "x264-params": X264}),
    "H265": ("libx265", "yuv420p", {"preset": "ultrafast", "x265-params": X265}),
    "JPEG": ("mjpeg", "yuvj420p", {"huffman": "default"}),
}
Payloads = list[tuple[bytes, bool]]
"""RTP payloads of one picture, each with its marker."""


@dataclass(frozen=True, slots=True)
class ForeignClip:
    """Pictures in the order of decoding; `order` tells the place of each in the order of showing."""

    codec: str
    pictures: tuple[bytes, ...]
    order: tuple[int, ...]

    def sdp(self, extra: str = "") -> str:
        """A description with this one track."""
        if self.codec == "JPEG":
            return f"v=0\r\nm=video 0 RTP/AVP 26\r\na=control:trackID=0\r\n{extra}"
        return f"v=0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 {self.codec}/90000\r\na=control:trackID=0\r\n{extra}"

    def payloads(self) -> list[Payloads]:
        """All pictures as RTP payloads."""
        packed = {"H265": hevc_payloads, "JPEG": jpeg_payloads}[self.codec]
        return [packed(picture) for picture in self.pictures]


def foreign_clip(codec: str, count: int = 30, width_px: int = 320, height_px: int = 240) -> ForeignClip:
    """`codec`: H264 or H265 (both with B pictures, a keyframe every 15) or JPEG."""
    name, pixels, options = ENCODERS[codec]
    encoder: Any = av.CodecContext.create(name, "w")
    encoder.width, encoder.height, encoder.thread_count = width_px, height_px, 1
    encoder.pix_fmt, encoder.options = pixels, options
    encoder.time_base, encoder.framerate = Fraction(1, 30), Fraction(30)
    packets = []
    for index, frame in enumerate(painted(count, width_px, height_px)):
        picture = frame if pixels == "yuv420p" else frame.reformat(format=pixels)
        picture.pts, picture.time_base = index, Fraction(1, 30)
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    return ForeignClip(codec, tuple(bytes(p) for p in packets), tuple(p.pts for p in packets))


def hevc_payloads(picture: bytes) -> Payloads:
    """RFC 7798: parameter sets share an aggregation packet, large units become fragmentation units."""
    nals = [nal for part in picture.split(b"\0\0\1") if (nal := part.rstrip(b"\0"))]
    small = [nal for nal in nals if nal[0] >> 1 & 0x3F in (32, 33, 34)]
    payloads = []
    if len(small) > 1:
        payloads.append(b"\x60\x01" + b"".join(struct.pack("!H", len(nal)) + nal for nal in small))
        nals = [nal for nal in nals if nal not in small]
    for nal in nals:
        if len(nal) <= MTU:
            payloads.append(nal)
            continue
        pieces = [nal[at : at + MTU] for at in range(2, len(nal), MTU)]
        head = bytes((nal[0] & 0x81 | 49 << 1, nal[1]))
        for index, piece in enumerate(pieces):
            mark = (index == 0) << 7 | (index == len(pieces) - 1) << 6 | nal[0] >> 1 & 0x3F
            payloads.append(head + bytes((mark,)) + piece)
    return _marked(payloads)


def jpeg_payloads(picture: bytes) -> Payloads:
    """RFC 2435 with the file's own quantizers (Q = 255)."""
    tables, size, at = b"", (0, 0), 2
    while True:
        mark, length = struct.unpack_from("!HH", picture, at)
        segment = picture[at + 4 : at + 2 + length]
        at += 2 + length
        if mark == 0xFFDB:
            tables += b"".join(segment[start + 1 : start + 65] for start in range(0, len(segment), 65))
        elif mark == 0xFFC0:
            size = struct.unpack_from("!HH", segment, 1)
        elif mark == 0xFFDA:
            break
    scan, payloads = picture[at:], []
    for offset in range(0, len(scan), MTU):
        head = struct.pack("!I", offset) + bytes((1, 255, size[1] // 8, size[0] // 8))
        if offset == 0:
            head += struct.pack("!BBH", 0, 0, len(tables)) + tables
        payloads.append(head + scan[offset : offset + MTU])
    return _marked(payloads)


def _marked(payloads: Sequence[bytes]) -> Payloads:
    return [(payload, index == len(payloads) - 1) for index, payload in enumerate(payloads)]
