"""What is read from H.264 without decoding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.media import h264
from tests.support.h264 import make_clip, make_units


def first_sps(path: Path) -> bytes:
    with av.open(str(path)) as container:
        data = b"".join(bytes(packet) for packet in container.demux(video=0))
    return h264.parameter_sets(data)[h264.NAL_SPS]


@pytest.mark.parametrize(
    ("options", "size", "profile"),
    [
        ({"profile": "baseline"}, (320, 240), 66),
        ({"profile": "main", "x264-params": "interlaced=1"}, (640, 360), 77),
        ({"profile": "high"}, (1920, 1080), 100),
        ({"profile": "high", "x264-params": "cqm=jvt"}, (322, 242), 100),
    ],
)
def test_the_size_is_read_as_ffmpeg_reads_it(
    tmp_path: Path, options: dict[str, str], size: tuple[int, int], profile: int
) -> None:
    options = {"preset": "superfast", **options}
    clip = make_clip(tmp_path / "a.h264", seconds=0.1, width_px=size[0], height_px=size[1], options=options)
    sequence = h264.parse_sps(first_sps(clip))
    assert sequence is not None
    assert (sequence.profile_idc, sequence.width_px, sequence.height_px) == (profile, *size)


def test_units_are_split_at_both_kinds_of_start_code() -> None:
    data = b"\x00\x00\x00\x01\x67\x01\x02" + b"\x00\x00\x01\x68\x03" + b"\x00\x00\x00\x01\x65\x04\x05"
    assert list(h264.nals(data)) == [b"\x67\x01\x02", b"\x68\x03", b"\x65\x04\x05"]
    assert h264.parameter_sets(data) == {7: b"\x67\x01\x02", 8: b"\x68\x03"}
    assert h264.has_idr(data)
    assert list(h264.nals(b"no start code")) == []
    assert not h264.has_idr(b"\x00\x00\x01\x41\x01")


def test_keyframes_are_told_from_other_pictures() -> None:
    units = make_units(4, gop=2)
    assert [h264.has_idr(unit.data) for unit in units] == [True, False, True, False]


def test_the_profiles_without_a_film_here() -> None:
    # profile 100, chroma 4:4:4 with one scaling list, picture order type 1, fields, cropped
    bits = _Writer()
    bits.ue(0).ue(3).u(1, 0).ue(0).ue(0).u(1, 0).u(1, 1)
    for index in range(12):
        bits.u(1, index == 0)
        if index == 0:
            bits.se(-8)
    bits.ue(0).ue(1).u(1, 0).se(0).se(0).ue(1).se(1)
    bits.ue(1).u(1, 0).ue(19).ue(7).u(1, 0).u(1, 0).u(1, 1).u(1, 1).ue(1).ue(1).ue(2).ue(2)
    assert h264.parse_sps(b"\x67\x64\x00\x1f" + bits.done()) == h264.Sequence(100, 31, 318, 248)


@pytest.mark.parametrize(
    "nal",
    [b"", b"\x67", b"\x68\x42\x00\x1f\x00", b"\x67\x42\x00\x1f", b"\x67\x42\x00\x1f" + bytes(40), b"\x67" * 5000],
)
def test_what_is_no_sps_is_none(nal: bytes) -> None:
    assert h264.parse_sps(nal) is None


def test_impossible_numbers_are_refused() -> None:
    huge = _Writer().ue(0).ue(0).ue(2).ue(1).u(1, 0).ue(50_000).ue(7).u(1, 1).u(1, 1).u(1, 0)
    endless = _Writer().ue(0).ue(0).ue(1).u(1, 0).se(0).se(0).ue(300)
    for bits in (huge, endless):
        assert h264.parse_sps(b"\x67\x42\x00\x1f" + bits.done()) is None


@given(st.binary(max_size=80))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    h264.parse_sps(b"\x67\x64" + data)
    list(h264.nals(data))
    h264.parameter_sets(b"\x00\x00\x01" + data)


class _Writer:
    """Writes fixed and Exp-Golomb codes."""

    def __init__(self) -> None:
        self._bits = ""

    def u(self, count: int, value: Any) -> _Writer:
        self._bits += f"{int(value):0{count}b}"
        return self

    def ue(self, value: int) -> _Writer:
        code = f"{value + 1:b}"
        self._bits += "0" * (len(code) - 1) + code
        return self

    def se(self, value: int) -> _Writer:
        return self.ue(2 * value - 1 if value > 0 else -2 * value)

    def done(self) -> bytes:
        bits = self._bits + "1"
        bits += "0" * (-len(bits) % 8)
        return int(bits, 2).to_bytes(len(bits) // 8, "big")
