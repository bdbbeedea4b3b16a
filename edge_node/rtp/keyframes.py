"""What a packet of video tells about its picture."""

from __future__ import annotations

from dataclasses import dataclass

# RFC 6184 section 5.2, table 1, with H.264 table 7-1.
_IDR, _SPS, _LAST_SINGLE, _STAP_A, _FU_A = 5, 7, 23, 24, 28


@dataclass(frozen=True, slots=True)
class Look:
    """`starts`: certainly the first packet of its picture, whatever came before. `key`: part of a keyframe."""

    starts: bool = False
    key: bool = False


UNKNOWN = Look()


def look(codec: str, payload: bytes) -> Look:
    """Of an RTP payload whose codec is named as in SDP: "H264" or "VP8"; UNKNOWN for others, and for rubbish."""
    match codec.upper():
        case "H264":
            return _look_h264(payload)
        case "VP8":
            return _look_vp8(payload)
    return UNKNOWN


def _look_h264(payload: bytes) -> Look:
    if not payload:
        return UNKNOWN
    kind = payload[0] & 0x1F
    if 1 <= kind <= _LAST_SINGLE:
        kinds = [kind]
    elif kind == _STAP_A:
        kinds = _aggregated(payload)
    elif kind == _FU_A and len(payload) > 1:
        kinds = [payload[1] & 0x1F]
    else:
        return UNKNOWN
    # Parameter sets come before the slices they are for (H.264 section 7.4.1.2.3).
    return Look(starts=_SPS in kinds, key=_IDR in kinds)


def _aggregated(payload: bytes) -> list[int]:
    """The types of the NAL units in a STAP-A (RFC 6184 section 5.7.1)."""
    kinds = []
    at = 1
    while at + 2 < len(payload):
        kinds.append(payload[at + 2] & 0x1F)
        at += 2 + int.from_bytes(payload[at : at + 2], "big")
    return kinds


def _look_vp8(payload: bytes) -> Look:
    """RFC 7741 section 4.2: the descriptor; section 4.3: the first bit of a frame is clear in keyframes."""
    if not payload or payload[0] & 0x1F != 0x10:  # S set, partition 0: where a frame starts
        return UNKNOWN
    at = 1
    if payload[0] & 0x80:
        extension = payload[1] if len(payload) > 1 else 0
        at += 1
        if extension & 0x80:
            at += 2 if len(payload) > at and payload[at] & 0x80 else 1
        at += bool(extension & 0x40) + bool(extension & 0x30)
    return Look(starts=True, key=len(payload) > at and not payload[at] & 0x01)
