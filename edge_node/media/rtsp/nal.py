"""What must be known of H.264 NAL units to hand them through (ITU-T H.264 section 7.3)."""

from __future__ import annotations

START_CODE = b"\0\0\0\1"
SLICE, IDR_SLICE, SPS, PPS, DELIMITER, FILLER, STAP_A, FU_A = 1, 5, 7, 8, 9, 12, 24, 28
"""NAL unit types: table 7-1, and RFC 6184 section 5.2 for the last two."""
MAX_PARAMETER_SET_BYTES = 4096
_MAX_ID = {SPS: 31, PPS: 255}  # sections 7.4.2.1.1 and 7.4.2.2


def starts_picture(slice_byte: int) -> bool:
    """Whether first_mb_in_slice is 0, by the byte after the NAL header: ue(0) is the single bit 1 (section 9.1)."""
    return slice_byte & 0x80 != 0


def is_b_slice(slice_byte: int) -> bool:
    """Whether a picture's first slice is a B slice: after the bit of first_mb_in_slice comes ue(1) or ue(6)."""
    return slice_byte & 0xF0 == 0xA0 or slice_byte & 0xFC == 0x9C


def _set_id(kind: int, nal: bytes | memoryview) -> int | None:
    """The id of a parameter set; an SPS has profile, constraints and level in front of it."""
    at = 4 if kind == SPS else 1
    bits = int.from_bytes(bytes(nal[at : at + 4]).ljust(4, b"\0"), "big")
    zeros = 32 - bits.bit_length()
    if zeros > 8:
        return None
    value = (bits >> (31 - 2 * zeros)) - 1
    return value if value <= _MAX_ID[kind] else None


class ParameterSets:
    """The newest SPS and PPS of each id; at most 32 and 256 of MAX_PARAMETER_SET_BYTES each."""

    def __init__(self) -> None:
        self._sets: dict[int, dict[int, bytes]] = {SPS: {}, PPS: {}}
        self.prefix = b""
        """All of them in Annex B form, for the front of a keyframe; empty until an SPS and a PPS are known."""

    @property
    def profile_level_id(self) -> str | None:
        """Six hex digits of the newest SPS, as in SDP (RFC 6184 section 8.1); None when none came."""
        newest = list(self._sets[SPS].values())
        return newest[-1][1:4].hex() if newest else None

    def add(self, nal: bytes | memoryview) -> bool:
        """Keeps an SPS or PPS; True when it is new. Everything else is left alone."""
        kind = nal[0] & 0x1F if len(nal) else 0
        if kind not in self._sets or not 1 < len(nal) <= MAX_PARAMETER_SET_BYTES:
            return False
        name = _set_id(kind, nal)
        if name is None or self._sets[kind].get(name) == nal:
            return False
        self._sets[kind].pop(name, None)  # the newest is the last
        self._sets[kind][name] = bytes(nal)
        both = [list(self._sets[kind].values()) for kind in (SPS, PPS)]
        self.prefix = b"".join(START_CODE + one for one in both[0] + both[1]) if all(both) else b""
        return True
