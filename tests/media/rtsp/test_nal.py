"""The few bits of H.264 that are looked at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.media.rtsp.nal import MAX_PARAMETER_SET_BYTES, START_CODE, ParameterSets, is_b_slice, starts_picture

SPS = bytes.fromhex("6742c01f8c8d405005ba10")  # id 0
SPS_1 = bytes.fromhex("6742c01f5000")  # id 1: ue(v) 010
PPS = bytes.fromhex("68ce3c80")  # id 0
PPS_1 = bytes.fromhex("685e3c80")


def ue(value: int) -> str:
    bits = f"{value + 1:b}"
    return "0" * (len(bits) - 1) + bits


@pytest.mark.parametrize("slice_type", range(10))
def test_slice_types(slice_type: int) -> None:
    """Table 7-6: 1 and 6 are B."""
    byte = int((ue(0) + ue(slice_type) + "1" * 8)[:8], 2)
    assert starts_picture(byte)
    assert is_b_slice(byte) is (slice_type in (1, 6))


def test_a_later_slice_does_not_start_a_picture() -> None:
    assert not starts_picture(int((ue(12) + "1" * 8)[:8], 2))


def test_nothing_in_front_until_both_kinds_are_known() -> None:
    sets = ParameterSets()
    assert sets.prefix == b""
    assert sets.profile_level_id is None
    assert sets.add(SPS)
    assert sets.prefix == b""
    assert sets.add(memoryview(PPS))
    assert sets.prefix == START_CODE + SPS + START_CODE + PPS
    assert sets.profile_level_id == "42c01f"


def test_a_repetition_is_nothing_new() -> None:
    sets = ParameterSets()
    assert [sets.add(one) for one in (SPS, PPS, SPS, memoryview(PPS))] == [True, True, False, False]


def test_each_id_has_its_place_and_the_newest_wins() -> None:
    sets = ParameterSets()
    for one in (SPS, SPS_1, PPS, PPS_1):
        assert sets.add(one)
    newer = SPS[:1] + b"\x64\x00\x28" + SPS[4:]
    assert sets.add(newer)
    assert sets.prefix == b"".join(START_CODE + one for one in (SPS_1, newer, PPS, PPS_1))
    assert sets.profile_level_id == "640028"


@pytest.mark.parametrize(
    "nal",
    [
        b"",
        b"\x67",
        b"\x67\x42\xc0\x1f",  # no id
        b"\x68\x00\x00",
        b"\x67\x42\xc0\x1f\x02\x00",  # an SPS id of more than 31
        b"\x68\x00\x80\x80",  # a PPS id of 256
        b"\x65\x88",
        b"\x68" + b"\x80" * MAX_PARAMETER_SET_BYTES,
    ],
)
def test_leaves_everything_else_alone(nal: bytes) -> None:
    sets = ParameterSets()
    assert not sets.add(nal)
    assert sets.prefix == b""


@given(st.lists(st.tuples(st.sampled_from([b"\x67\x42\xc0\x1f", b"\x68"]), st.binary(max_size=20)), max_size=60))
def test_memory_is_bounded(nals: list[tuple[bytes, bytes]]) -> None:
    sets = ParameterSets()
    for head, rest in nals:
        sets.add(head + rest)
    assert len(sets.prefix) <= (32 + 256) * (MAX_PARAMETER_SET_BYTES + 4)
