"""What can be read from an H.264 stream without decoding it (ITU-T H.264, Annex B)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

NAL_SLICE, NAL_IDR, NAL_SPS, NAL_PPS, NAL_AUD = 1, 5, 7, 8, 9
START = b"\x00\x00\x00\x01"
BASELINE = 66
# Profiles whose SPS carries chroma_format_idc (section 7.3.2.1.1).
_WITH_CHROMA = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})
# An SPS of a camera has tens of bytes; this bounds what a hostile stream makes us read.
_MAX_SPS_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Sequence:
    """The sequence parameter set's facts; `level_idc` 31 is level 3.1."""

    profile_idc: int
    level_idc: int
    width_px: int
    height_px: int


def nals(data: bytes) -> Iterator[bytes]:
    """The NAL units of an Annex B stream, without start codes."""
    start = data.find(b"\x00\x00\x01")
    while start >= 0:
        start += 3
        end = data.find(b"\x00\x00\x01", start)
        nal = data[start:end] if end >= 0 else data[start:]
        nal = nal.rstrip(b"\x00") if end >= 0 else nal  # the zero byte of a four-byte start code
        if nal:
            yield nal
        start = end


def nal_type(nal: bytes) -> int:
    """nal_unit_type (table 7-1)."""
    return nal[0] & 0x1F


def parameter_sets(data: bytes) -> dict[int, bytes]:
    """The SPS and PPS in front of the first slice: type → NAL unit (the last one of its type)."""
    found: dict[int, bytes] = {}
    for nal in nals(data):
        kind = nal_type(nal)
        if NAL_SLICE <= kind <= NAL_IDR:
            break
        if kind in (NAL_SPS, NAL_PPS):
            found[kind] = nal
    return found


def has_idr(data: bytes) -> bool:
    """Whether the access unit is an IDR picture: the only kind from which every decoder can start."""
    return any(nal_type(nal) == NAL_IDR for nal in nals(data))


def parse_sps(nal: bytes) -> Sequence | None:
    """Profile, level and picture size; None when the NAL unit is no SPS that makes sense."""
    if len(nal) < 4 or len(nal) > _MAX_SPS_BYTES or nal_type(nal) != NAL_SPS:
        return None
    try:
        return _parse(nal)
    except (EOFError, ValueError):
        return None


def _parse(nal: bytes) -> Sequence:
    profile, level = nal[1], nal[3]
    bits = _Bits(nal[4:].replace(b"\x00\x00\x03", b"\x00\x00"))
    bits.ue()  # seq_parameter_set_id
    chroma_format = 1
    if profile in _WITH_CHROMA:
        chroma_format = bits.ue()
        _skip_chroma(bits, chroma_format)
    bits.ue()  # log2_max_frame_num_minus4
    _skip_picture_order(bits)
    bits.ue()  # max_num_ref_frames
    bits.read(1)  # gaps_in_frame_num_value_allowed_flag
    width_mbs = bits.ue() + 1
    height_units = bits.ue() + 1
    frames_only = bits.read(1)
    if not frames_only:
        bits.read(1)  # mb_adaptive_frame_field_flag
    bits.read(1)  # direct_8x8_inference_flag
    left = right = top = bottom = 0
    if bits.read(1):
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
    # Crop units, equations 7-19 to 7-22: chroma samples, doubled in height for fields.
    unit_x = 2 if chroma_format in (1, 2) else 1
    unit_y = (2 if chroma_format == 1 else 1) * (2 - frames_only)
    width = width_mbs * 16 - unit_x * (left + right)
    height = height_units * 16 * (2 - frames_only) - unit_y * (top + bottom)
    if not (0 < width <= 16_384 and 0 < height <= 16_384):
        raise ValueError("no picture has this size")
    return Sequence(profile, level, width, height)


def _skip_chroma(bits: _Bits, chroma_format: int) -> None:
    if chroma_format == 3:
        bits.read(1)  # separate_colour_plane_flag
    bits.ue()  # bit_depth_luma_minus8
    bits.ue()  # bit_depth_chroma_minus8
    bits.read(1)  # qpprime_y_zero_transform_bypass_flag
    if not bits.read(1):  # seq_scaling_matrix_present_flag
        return
    for index in range(8 if chroma_format != 3 else 12):
        if bits.read(1):
            _skip_scaling_list(bits, 16 if index < 6 else 64)


def _skip_scaling_list(bits: _Bits, size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            following = (last + bits.se()) % 256
        last = following or last


def _skip_picture_order(bits: _Bits) -> None:
    kind = bits.ue()
    if kind == 0:
        bits.ue()  # log2_max_pic_order_cnt_lsb_minus4
    elif kind == 1:
        bits.read(1)  # delta_pic_order_always_zero_flag
        bits.se()  # offset_for_non_ref_pic
        bits.se()  # offset_for_top_to_bottom_field
        cycle = bits.ue()
        if cycle > 255:
            raise ValueError("num_ref_frames_in_pic_order_cnt_cycle is at most 255")
        for _ in range(cycle):
            bits.se()


class _Bits:
    """A reader of fixed and Exp-Golomb codes (section 9.1). Raises EOFError, ValueError."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = len(data) * 8

    def read(self, count: int) -> int:
        if count > self._left:
            raise EOFError
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def ue(self) -> int:
        zeros = 0
        while not self.read(1):
            zeros += 1
            if zeros > 31:
                raise ValueError("an Exp-Golomb code has at most 31 leading zeros")
        return (1 << zeros) - 1 + self.read(zeros)

    def se(self) -> int:
        code = self.ue()
        return (code + 1) // 2 if code % 2 else -(code // 2)
