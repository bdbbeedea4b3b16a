"""JPEG pictures out of RTP packets (RFC 2435), to be decoded here."""

from __future__ import annotations

import struct

from edge_node.media.rtsp.pictures import Pictures

# RFC 2435 section 4.2 and appendix A: the tables of ITU-T T.81 annex K, in zigzag order.
_LUMA = bytes.fromhex(
    "100b0c0e0c0a100e0d0e1211101318281a181616183123251d283a333d3c3933383740485c4e404457453738506d51575f626768673e4d71"
    "797064785c656763"
)
_CHROMA = bytes.fromhex("1112121815182f1a1a2f6342384263" + "63" * 49)
# T.81 tables K.3 to K.6: how many codes of each length, then their values.
_DC_VALUES = bytes(range(12))
_DC_LUMA = bytes.fromhex("00010501010101010100000000000000") + _DC_VALUES
_DC_CHROMA = bytes.fromhex("00030101010101010101010000000000") + _DC_VALUES
_AC_LUMA = bytes.fromhex(
    "0002010303020403050504040000017d"
    "01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25262728292a343536373839"
    "3a434445464748494a535455565758595a636465666768696a737475767778797a838485868788898a92939495969798999aa2a3a4a5a6a7"
    "a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa"
)
_AC_CHROMA = bytes.fromhex(
    "00020102040403040705040400010277"
    "0001020311040521310612415107617113223281081442 91a1b1c109233352f0156272d10a162434e125f11718191a262728292a35363738"
    "393a434445464748494a535455565758595a636465666768696a737475767778797a82838485868788898a92939495969798999aa2a3a4a5"
    "a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa"
)
_HUFFMAN = b"".join(
    struct.pack("!HHB", 0xFFC4, 3 + len(table), where) + table
    for where, table in ((0x00, _DC_LUMA), (0x10, _AC_LUMA), (0x01, _DC_CHROMA), (0x11, _AC_CHROMA))
)
_END = b"\xff\xd9"


def quantizers(quality: int) -> bytes:
    """Both tables for a Q of 1 to 99 (RFC 2435 section 4.2)."""
    factor = 5000 // quality if quality < 50 else 200 - quality * 2
    return bytes(min(255, max(1, (base * factor + 50) // 100)) for base in _LUMA + _CHROMA)


def jfif_front(kind: int, width_px: int, height_px: int, tables: bytes, restart: int) -> bytes:
    """Everything of a JPEG file in front of its scan (RFC 2435 appendix B); `restart`: interval, 0 for none."""
    parts = [b"\xff\xd8"]
    for index, start in enumerate(range(0, len(tables), 64)):
        parts.append(struct.pack("!HHB", 0xFFDB, 67, index) + tables[start : start + 64])
    if restart:
        parts.append(struct.pack("!HHH", 0xFFDD, 4, restart))
    sampling = 0x21 if kind & 1 == 0 else 0x22  # type 0: 4:2:2, type 1: 4:2:0
    chroma = 1 if len(tables) > 64 else 0
    frame = struct.pack("!HHBHHB", 0xFFC0, 17, 8, height_px, width_px, 3)
    parts.append(frame + bytes((1, sampling, 0, 2, 0x11, chroma, 3, 0x11, chroma)))
    parts.append(_HUFFMAN)
    parts.append(struct.pack("!HHB", 0xFFDA, 12, 3) + bytes((1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0)))
    return b"".join(parts)


class JpegPictures(Pictures):
    """MJPEG: every picture is a keyframe."""

    decode_as = "mjpeg"
    _scan = 0
    """Bytes of the open picture's scan so far."""
    _tables: bytes = b""

    def _front(self) -> bytes | None:
        return b""

    def _take(self, payload: bytes | memoryview) -> bool:
        if len(payload) < 8:
            return False
        offset = int.from_bytes(payload[1:4], "big")
        kind, quality, width, height = payload[4], payload[5], payload[6] * 8, payload[7] * 8
        at, restart = 8, 0
        if 64 <= kind <= 127:
            restart = int.from_bytes(payload[8:10], "big")
            at = 12
        if kind & 0x3F > 1 or kind > 127 or quality == 0 or not width or not height:
            return False
        if offset == 0:
            tables, at = self._quantizers(payload, at, quality)
            if not tables:
                return False
            self._sliced = self._keyframe = True
            self._append(jfif_front(kind, width, height, tables, restart))
            self._scan = 0
        elif not self._sliced:
            if not self._bad:
                self._spoil()
            return True  # the tail of a picture whose head was lost
        if offset != self._scan or at > len(payload):
            return False
        self._append(payload[at:])
        self._scan += len(payload) - at
        return True

    def _quantizers(self, payload: bytes | memoryview, at: int, quality: int) -> tuple[bytes, int]:
        """The tables of a first packet with where its scan begins; empty when there are none to be had."""
        if quality < 128:
            return (quantizers(quality), at) if quality < 100 else (b"", at)
        size = int.from_bytes(payload[at + 2 : at + 4], "big")
        precision = payload[at + 1] if at + 4 <= len(payload) else 0xFF
        if precision != 0 or size not in (0, 64, 128) or at + 4 + size > len(payload):
            return b"", at
        if size:
            self._tables = bytes(payload[at + 4 : at + 4 + size])
        return self._tables, at + 4 + size
