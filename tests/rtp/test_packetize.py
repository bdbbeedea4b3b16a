from __future__ import annotations

import random

import pytest
from aiortc.codecs.h264 import H264PayloadDescriptor
from aiortc.codecs.vpx import VpxPayloadDescriptor

from edge_node.rtp.packetize import MAX_RUN, SEGMENT_BYTES, Cut, Unit, h264, nals, vp8, whole

START = b"\0\0\0\1"


def nal(kind: int, size: int, importance: int = 0x60) -> bytes:
    return bytes((importance | kind,)) + bytes(random.Random(size).choices(range(1, 256), k=size - 1))


def annexb(*units: bytes) -> bytes:
    return b"".join(START + unit for unit in units)


def depacketised(payloads: list[bytes]) -> bytes:
    return b"".join(H264PayloadDescriptor.parse(payload)[1] for payload in payloads)


@pytest.mark.parametrize("size", [2, 100, 1199, 1200, 1201, 2397, 2398, 60_000])
def test_any_receiver_puts_a_picture_together_again(size: int) -> None:
    units = (nal(7, 12), nal(8, 5), nal(5, size), nal(1, 700), nal(1, 600, 0x20))
    payloads = h264(annexb(*units))
    assert depacketised(payloads) == annexb(*units)
    assert all(len(payload) <= SEGMENT_BYTES for payload in payloads)


def test_fragments_are_of_one_size_but_the_last() -> None:
    sizes = [len(payload) for payload in h264(annexb(nal(5, 10_000)))]
    assert set(sizes[:-1]) == {SEGMENT_BYTES} and 0 < sizes[-1] < SEGMENT_BYTES
    assert Cut(h264(annexb(nal(7, 9), nal(8, 4), nal(5, 10_000)))).runs == ((0, 1), (1, 10))


def test_small_units_travel_together_and_delimiters_stay_at_home() -> None:
    (payload,) = h264(annexb(nal(9, 2, 0), nal(7, 9), nal(8, 4, 0x20), nal(12, 30, 0)))
    assert payload[0] == 0x60 | 24 and depacketised([payload]) == annexb(nal(7, 9), nal(8, 4, 0x20))
    assert h264(annexb(nal(1, 30))) == [nal(1, 30)]
    assert h264(b"") == h264(b"no start code") == h264(annexb(nal(9, 2, 0))) == []


def test_start_codes_of_three_and_four_bytes() -> None:
    assert list(nals(b"\0\0\1ab\0\0\0\1cd\0\0\1\0\0\1ef\0")) == [b"ab", b"cd", b"ef\0"]


def test_a_forbidden_bit_is_handed_on() -> None:
    (payload,) = h264(annexb(bytes((0x80 | 1, 5)), bytes((0x61, 6))))
    assert payload[0] == 0x80 | 0x60 | 24


def test_vp8() -> None:
    frame = bytes(random.Random(1).choices(range(256), k=3000))
    payloads = vp8(frame)
    assert [len(payload) for payload in payloads] == [1200, 1200, 603]
    starts = []
    rest = b""
    for payload in payloads:
        descriptor, data = VpxPayloadDescriptor.parse(payload)
        starts.append(descriptor.partition_start)
        rest += data
    assert rest == frame and starts == [1, 0, 0]


def test_runs_end_where_sizes_change() -> None:
    sizes = [5, 9, 9, 9, 4, 9, 9, 12, 12]
    assert Cut([bytes(size) for size in sizes]).runs == ((0, 1), (1, 5), (5, 7), (7, 9))
    assert Cut([bytes(3)] * 100).runs == ((0, MAX_RUN), (MAX_RUN, 2 * MAX_RUN), (2 * MAX_RUN, 100))
    assert Cut([]).runs == () and Cut([]).size == 0


def test_a_unit_is_cut_once_by_its_codec() -> None:
    unit = Unit(annexb(nal(5, 5000)), "video/H264", keyframe=True)
    assert unit.cut is unit.cut and unit.cut.size == sum(map(len, unit.cut.payloads))
    assert Unit(b"x" * 3000, "video/VP8").cut.runs == ((0, 3),)
    sound = Unit(b"opus", "audio/opus", level_dbov=-30)
    assert sound.cut.payloads == (b"opus",) and sound.level_dbov == -30 and whole(b"") == []
