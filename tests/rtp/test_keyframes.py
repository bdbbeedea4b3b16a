from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.rtp.keyframes import UNKNOWN, Look, look
from tests.support.property import patient

SPS, PPS, IDR, SLICE, SEI = b"\x67\x42", b"\x68\xce", b"\x65\x88", b"\x41\x9a", b"\x06\x05"


def stap(*units: bytes) -> bytes:
    return b"\x78" + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", UNKNOWN),
        (SLICE, Look()),
        (IDR, Look(key=True)),
        (SPS, Look(starts=True)),
        (PPS, Look()),
        (stap(SPS, PPS), Look(starts=True)),
        (stap(SPS, PPS, IDR), Look(starts=True, key=True)),
        (stap(SEI, SLICE), Look()),
        (stap(SPS)[:-3], Look()),  # truncated
        (b"\x7c\x85\x88", Look(key=True)),
        (b"\x7c\x05", Look(key=True)),
        (b"\x7c\x41", Look()),
        (b"\x7c", UNKNOWN),
        (b"\x7d\x85", UNKNOWN),
        (b"\x60\x00", UNKNOWN),
    ],
)
def test_h264(payload: bytes, expected: Look) -> None:
    assert look("H264", payload) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", UNKNOWN),
        (b"\x10\x00", Look(starts=True, key=True)),
        (b"\x10\x01", Look(starts=True)),
        (b"\x10", Look(starts=True)),
        (b"\x00\x00", UNKNOWN),
        (b"\x11\x00", UNKNOWN),
        (b"\x90\x80\x05\x00", Look(starts=True, key=True)),
        (b"\x90\x80\x85\x01\x00", Look(starts=True, key=True)),
        (b"\x90\x80\x85\x01\x01", Look(starts=True)),
        (b"\x90\x80", Look(starts=True)),
        (b"\x90", Look(starts=True)),
        (b"\x90\xe0\x85\x01\x07\x20\x00", Look(starts=True, key=True)),
        (b"\x90\x10\x01\x00", Look(starts=True, key=True)),
        (b"\x90\x00\x00", Look(starts=True, key=True)),
    ],
)
def test_vp8(payload: bytes, expected: Look) -> None:
    assert look("VP8", payload) == expected


def test_others() -> None:
    assert look("AV1", b"\x10\x00") == UNKNOWN


@patient
@given(payload=st.binary(max_size=64), codec=st.sampled_from(("H264", "VP8")))
def test_rubbish(payload: bytes, codec: str) -> None:
    for start in (b"", b"\x78", b"\x90", b"\x7c"):
        assert isinstance(look(codec, start + payload), Look)
