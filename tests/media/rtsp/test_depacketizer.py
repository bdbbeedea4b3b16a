"""Pictures out of packets: whole ones only, whatever the network does."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.media.rtsp import pictures
from edge_node.media.rtsp.depacketizer import Depacketizer
from edge_node.media.rtsp.nal import START_CODE, ParameterSets
from edge_node.media.rtsp.pictures import MAX_UNIT_BYTES, Counters
from edge_node.media.rtsp.timeline import Timeline
from edge_node.ports import AccessUnit
from tests.media.rtsp.test_nal import PPS, PPS_1, SPS
from tests.support.rtsp_server import packetize, rtp

Unit = tuple[bytes, ...]
FRAME = 3000
SETS = START_CODE + SPS + START_CODE + PPS


def picture(number: int, *, key: bool = False, size: int = 40, slices: int = 1, b: bool = False) -> Unit:
    """NAL units of one picture: bytes that are its own, so that mixed-up pictures show."""
    body = number.to_bytes(2, "big") * (size // 2)
    head = b"\x65" if key else b"\x41"
    first = b"\xa0" if b else b"\x88" if key else b"\xe0"
    nals = [head + first + body, *(head + b"\x40" + body for _ in range(slices - 1))]
    return (SPS, PPS, *nals) if key else tuple(nals)


def coded(unit: Unit) -> bytes:
    return b"".join(START_CODE + nal for nal in unit)


def packets(
    units: Iterable[Unit], *, sequence: int = 65_530, mtu: int = 60, ssrc: int = 7, tick: int = 1000
) -> list[bytes]:
    found: list[bytes] = []
    for number, unit in enumerate(units):
        for payload, marker in packetize(unit, mtu):
            found.append(rtp(payload, sequence + len(found), tick + number * FRAME, marker=marker, ssrc=ssrc))
    return found


def stream(parameter_sets: ParameterSets | None = None) -> Depacketizer:
    return Depacketizer(96, parameter_sets or ParameterSets(), Timeline())


def feed(depacketizer: Depacketizer, data: Iterable[bytes]) -> list[AccessUnit]:
    found: list[AccessUnit] = []
    for number, packet in enumerate(data):
        found += depacketizer.feed(memoryview(packet), number / 100)
    return found


CLIP = [picture(0, key=True, size=300), picture(1), picture(2, size=200), picture(3, key=True, size=500), picture(4)]


def test_whole_pictures_over_the_wrap_of_both_counters() -> None:
    taken = stream()
    units = feed(taken, packets(CLIP, tick=0xFFFF_FFFF))
    assert [unit.data for unit in units] == [coded(unit) for unit in CLIP]
    assert [unit.keyframe for unit in units] == [True, False, False, True, False]
    assert [unit.timestamp for unit in units] == [0, 3000, 6000, 9000, 12000]
    assert taken.keyframe_gap_s == 0.1
    assert taken.counters.units == 5
    assert taken.counters.keyframes == 2
    assert taken.counters.dropped_units == 0


def test_the_picture_has_the_time_of_its_first_packet() -> None:
    units = feed(stream(), packets(CLIP[:1]))
    assert units[0].captured_at == 0.0


def test_parameter_sets_from_the_description_go_in_front_of_keyframes() -> None:
    sets = ParameterSets()
    sets.add(SPS)
    sets.add(PPS)
    units = feed(stream(sets), packets([picture(0, key=True)[2:], picture(1)]))
    assert [unit.data for unit in units] == [SETS + coded(picture(0, key=True)[2:]), coded(picture(1))]


def test_without_parameter_sets_nothing_can_be_shown() -> None:
    taken = stream()
    assert feed(taken, packets([picture(0, key=True)[2:], picture(1)])) == []
    assert taken.counters.dropped_units == 2


def test_a_new_parameter_set_between_keyframes_is_handed_on_once() -> None:
    units = feed(stream(), packets([CLIP[0], (PPS_1, *picture(1)), (PPS_1, *picture(2)), picture(3)]))
    assert [unit.data for unit in units[1:]] == [
        SETS + START_CODE + PPS_1 + coded(picture(1)),
        coded(picture(2)),
        coded(picture(3)),
    ]


def test_a_parameter_set_on_its_own_goes_in_front_of_the_next_picture() -> None:
    units = feed(stream(), packets([CLIP[0], (PPS_1,), picture(2)]))
    assert units[1].data == SETS + START_CODE + PPS_1 + coded(picture(2))


def test_delimiters_and_filler_are_left_out_and_sei_stays() -> None:
    sei, delimiter, filler = b"\x06\x05\x01\x00", b"\x09\xf0", b"\x0c\xff\xff"
    units = feed(stream(), packets([(delimiter, SPS, PPS, sei, *CLIP[0][2:], filler)]))
    assert units[0].data == SETS + START_CODE + sei + coded(CLIP[0][2:])


def test_starts_at_the_first_keyframe() -> None:
    taken = stream()
    units = feed(taken, packets([picture(9), *CLIP]))
    assert [unit.data for unit in units] == [coded(unit) for unit in CLIP]
    assert taken.counters.dropped_units == 1


@pytest.mark.parametrize("lost", range(6))
def test_a_hole_drops_everything_to_the_next_keyframe(lost: int) -> None:
    """Of a key picture in six packets, whichever is lost: no picture until the next whole keyframe."""
    data = packets([picture(0, key=True, size=280), picture(1), *CLIP])
    taken = stream()
    units = feed(taken, data[:lost] + data[lost + 1 :])
    assert [unit.data for unit in units] == [coded(unit) for unit in CLIP]
    assert taken.counters.dropped_units == 2
    assert taken.counters.lost_packets == (1 if lost else 0)


def test_a_hole_between_pictures_that_no_marker_ended() -> None:
    """Nobody knows whether the picture before the hole was whole."""
    data = [packet[:1] + bytes((packet[1] & 0x7F,)) + packet[2:] for packet in packets(CLIP)]
    lost = len(packets(CLIP[:2]))
    taken = stream()
    units = feed(taken, data[:lost] + data[lost + 1 :])
    assert [unit.data for unit in units] == [coded(CLIP[0]), coded(CLIP[3])]  # the last picture is not over yet
    assert taken.counters.dropped_units == 2


def test_pictures_end_when_the_timestamp_changes() -> None:
    data = [packet[:1] + bytes((packet[1] & 0x7F,)) + packet[2:] for packet in packets(CLIP)]
    units = feed(stream(), data)
    assert [unit.data for unit in units] == [coded(unit) for unit in CLIP[:-1]]


def test_a_missing_marker_gives_two_pictures_at_once() -> None:
    data = packets([CLIP[0], picture(1), picture(2)])
    ended = data[-2][:1] + bytes((data[-2][1] & 0x7F,)) + data[-2][2:]
    taken = stream()
    feed(taken, [*data[:-2], ended])
    assert len(taken.feed(data[-1], 1.0)) == 2


def test_several_slices_are_one_picture() -> None:
    unit = picture(0, key=True, slices=3, size=100)
    assert [one.data for one in feed(stream(), packets([unit]))] == [coded(unit)]


def test_a_camera_that_marks_each_slice_is_found_out() -> None:
    """Its pictures end with the timestamp instead, from the next keyframe on."""
    clip = [picture(n, key=n % 2 == 0, slices=2) for n in range(6)]
    data = [packet[:1] + bytes((packet[1] | 0x80,)) + packet[2:] for packet in packets(clip, mtu=1400)]
    taken = stream()
    units = feed(taken, data)
    assert taken.markers_lie
    assert [unit.data for unit in units][1:] == [coded(unit) for unit in clip[2:5]]


def test_a_camera_that_marks_each_packet_gives_whole_pictures_at_once() -> None:
    data = packets(CLIP)
    taken = stream()
    units = feed(taken, [packet[:1] + bytes((packet[1] | 0x80,)) + packet[2:] for packet in data])
    assert [unit.data for unit in units] == [coded(unit) for unit in CLIP]
    assert not taken.markers_lie and taken.counters.dropped_units == 0


def test_a_camera_that_marks_its_parameter_sets_is_harmless() -> None:
    data = packets([(SPS,), (PPS,), CLIP[0][2:], CLIP[1]], mtu=1400)
    same = [packet[:4] + data[0][4:8] + packet[8:] for packet in data[:3]] + data[3:]
    taken = stream()
    assert [unit.data for unit in feed(taken, same)] == [coded(CLIP[0]), coded(CLIP[1])]
    assert not taken.markers_lie


def test_b_pictures_are_counted() -> None:
    taken = stream()
    feed(taken, packets([CLIP[0], picture(1, b=True, slices=2), picture(2)]))
    assert taken.counters.b_pictures == 1


def test_late_and_double_packets_are_dropped() -> None:
    data = packets(CLIP)
    taken = stream()
    units = feed(taken, [data[0], data[1], data[0], data[1], *data[2:], data[-1]])
    assert len(units) == len(CLIP)
    assert taken.counters.late_packets == 3


def test_a_sequence_that_jumps_back_is_followed_from_its_second_packet() -> None:
    taken = stream()
    feed(taken, packets(CLIP, sequence=30_000))
    again = feed(taken, packets([picture(1), *CLIP], sequence=500, tick=90_000))
    assert [unit.data for unit in again] == [coded(unit) for unit in CLIP]
    assert taken.counters.late_packets == 1
    assert taken.counters.lost_packets == 0


def test_another_sender_starts_at_its_keyframe_and_later() -> None:
    taken = stream()
    first = feed(taken, packets(CLIP[:2], ssrc=1))
    second = feed(taken, packets([picture(1), *CLIP], ssrc=2, tick=123))
    assert [unit.data for unit in second] == [coded(unit) for unit in CLIP]
    assert second[0].timestamp > first[-1].timestamp


def test_another_sender_inside_a_picture_drops_it() -> None:
    taken = stream()
    feed(taken, packets(CLIP[:1], ssrc=1)[:-1])
    feed(taken, packets(CLIP, ssrc=2))
    assert taken.counters.dropped_units == 1


def test_a_new_session_goes_on_in_time() -> None:
    sets, timeline, counters = ParameterSets(), Timeline(), Counters()
    first = Depacketizer(96, sets, timeline, counters).feed(packets(CLIP[:1], mtu=1400)[0], 10.0)
    assert first == ()
    data = packets(CLIP[:1], mtu=1400)
    for at in (10.0, 12.0):
        taken = Depacketizer(96, sets, timeline, counters)
        units = [unit for packet in data for unit in taken.feed(packet, at)]
        assert [unit.timestamp for unit in units] == [0 if at == 10.0 else 180_000]
    assert counters.units == 2
    assert counters.keyframes == 2


# RTP headers


def test_padding_extensions_and_contributors() -> None:
    (plain,) = packets([picture(0, key=True)[2:]], mtu=1400)
    body = plain[12:]
    variants = [
        bytes((0x82,)) + plain[1:12] + bytes(8) + body,
        bytes((0x90,)) + plain[1:12] + b"\xbe\xde\x00\x01" + bytes(4) + body,
        bytes((0xA0,)) + plain[1:] + b"\x00\x00\x03",
        bytes((0xB1,)) + plain[1:12] + bytes(4) + b"\xbe\xde\x00\x00" + body + b"\x01",
    ]
    for packet in variants:
        sets = ParameterSets()
        sets.add(SPS)
        sets.add(PPS)
        (unit,) = feed(stream(sets), [packet])
        assert unit.data == SETS + START_CODE + body


def test_a_packet_of_padding_only_keeps_the_sequence() -> None:
    data = packets(CLIP[:2], sequence=10)
    empty = rtp(b"\x04\x04\x04\x04", 10 + len(data), 1000 + 2 * FRAME, marker=True, ssrc=7)
    taken = stream()
    feed(taken, [*data, bytes((0xA0,)) + empty[1:]])
    (unit,) = feed(taken, packets([picture(5)], sequence=11 + len(data), tick=1000 + 3 * FRAME))
    assert unit.data == coded(picture(5))


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x80" * 11,
        b"\x40" + bytes(20),  # version 1
        rtp(b"\x41\xe0", 1, 1, marker=True, ssrc=1, payload_type=97),
        b"\x90" + rtp(b"", 1, 1, marker=False, ssrc=1)[1:],  # an extension that is not there
        b"\x90" + rtp(b"\0\0\xff\xff", 1, 1, marker=False, ssrc=1)[1:],  # one that is too long
        b"\x8f" + rtp(b"", 1, 1, marker=False, ssrc=1)[1:],  # contributors that are not there
        b"\xa0" + rtp(b"\xff", 1, 1, marker=False, ssrc=1)[1:],  # more padding than packet
    ],
)
def test_what_is_not_our_stream_is_counted(packet: bytes) -> None:
    taken = stream()
    assert not taken.feed(packet, 0.0)
    assert taken.counters.bad_packets == 1
    assert taken.heard_at is None


# Payloads


@pytest.mark.parametrize(
    "payload",
    [
        b"\x78",  # an empty STAP-A is no picture, but no harm: see below
        b"\x78\x00\x09\x41",  # a unit longer than the packet
        b"\x78\x00\x00\x41",  # an empty unit
        b"\x78\x00\x02\x41\xe0\x00",  # half a size at the end
        b"\x78\x00\x01\x78",  # a STAP-A inside a STAP-A
        b"\x79\x00\x00\x00\x02\x41\xe0",  # STAP-B
        b"\x5c\x85",  # FU-A without a byte
        b"\x5c\x9c\x00",  # FU-A of an FU-A
        b"\x5c\x80\x00",
        b"\x5d\x81\x00\x00\xe0",  # FU-B
        b"\x00\x00",
        b"\x1f\x00",
    ],
)
def test_malformed_payloads_spoil_the_picture_only(payload: bytes) -> None:
    taken = stream()
    data = packets(CLIP[:2], sequence=10, mtu=1400)
    feed(taken, data)
    last = rtp(payload, 10 + len(data), 1000 + 2 * FRAME, marker=True, ssrc=7)
    assert feed(taken, [last]) == []
    assert taken.counters.bad_packets == (0 if payload == b"\x78" else 1)
    units = feed(taken, packets(CLIP, sequence=11 + len(data), tick=1000 + 3 * FRAME))
    assert [unit.data for unit in units] == [coded(unit) for unit in CLIP]


def test_a_fragment_without_its_head_spoils_the_picture() -> None:
    data = packets([CLIP[0], picture(1, size=200)])
    taken = stream()
    units = feed(taken, data[: -len(packetize(picture(1, size=200), 60))])
    middle = rtp(b"\x5c\x01\x00", 65_530 + len(data) - 4, 1000 + FRAME, marker=False, ssrc=7)
    more = rtp(b"\x5c\x41\x00", 65_530 + len(data) - 3, 1000 + FRAME, marker=True, ssrc=7)
    assert len(units) == 1
    assert feed(taken, [middle, more]) == []
    assert taken.counters.dropped_units == 1
    assert taken.counters.bad_packets == 0


def test_a_slice_of_one_byte() -> None:
    data = packets([CLIP[0], (b"\x41",), CLIP[0]])
    assert [unit.data for unit in feed(stream(), data)] == [coded(CLIP[0]), START_CODE + b"\x41", coded(CLIP[0])]


def test_a_picture_without_end_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_UNIT_BYTES", 1000)
    taken = stream()
    units = feed(taken, packets([picture(0, key=True, size=2000), picture(1), *CLIP]))
    assert [unit.data for unit in units] == [coded(unit) for unit in CLIP]
    assert taken.counters.dropped_units == 2
    assert MAX_UNIT_BYTES >= 1 << 20


# Whatever comes


@given(st.lists(st.binary(max_size=60), max_size=60))
def test_garbage_never_crashes(payloads: list[bytes]) -> None:
    taken = stream()
    feed(taken, payloads)
    header = struct.Struct("!BBHII")
    feed(taken, [header.pack(0x80, 96, n & 0xFFFF, 0, 1) + payload for n, payload in enumerate(payloads)])


@given(
    st.lists(st.tuples(st.booleans(), st.integers(2, 300), st.integers(1, 3)), min_size=1, max_size=25),
    st.randoms(use_true_random=False),
    st.floats(0, 0.3),
)
def test_only_whole_pictures_come_out(shape: list[tuple[bool, int, int]], random: Random, rate: float) -> None:
    """Under loss, doubling and swapping: each picture is one that was sent, in order, and follows its reference."""
    clip = [picture(n, key=key or n == 0, size=size, slices=slices) for n, (key, size, slices) in enumerate(shape)]
    data: list[bytes] = []
    for packet in packets(clip):
        chance = random.random()
        if chance < rate / 2:
            continue
        data.append(packet)
        if chance > 1 - rate / 4:
            data.append(packet)
        elif chance > 1 - rate / 2 and len(data) > 1:
            data[-2:] = reversed(data[-2:])
    units = feed(stream(), data)
    sent = [coded(unit) for unit in clip]
    shown = [sent.index(unit.data) for unit in units]
    assert shown == sorted(set(shown))
    for before, after, unit in zip([-1, *shown], shown, units, strict=False):
        assert unit.keyframe or after == before + 1, "a picture whose reference is missing"
    ticks = [unit.timestamp for unit in units]
    assert ticks == sorted(set(ticks))
