"""Receptions with a receiver that only listens; tests/contract has them in a real one."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.rtp import RtpPacket, unwrap_rtx

from edge_node.realtime.aiortc_receiver import QUEUE_PICTURES, DecodeQueue, Pictures, Reception, Sound
from edge_node.realtime.received import ReceivedTrack
from tests.support.waiting import eventually

KEY, DELTA = b"\x78\0\2\x67\x42\0\2\x65\x88", b"\x41\x9a"
H264, RTX = SimpleNamespace(name="H264"), SimpleNamespace(name="rtx")
OPUS = RTCRtpCodecParameters(mimeType="audio/opus", clockRate=48_000, channels=2, payloadType=111)
OPUS_SILENCE = b"\xf8\xff\xfe"


class Receiver:
    """What a reception needs of aiortc's."""

    def __init__(self) -> None:
        self.__dict__["_RTCRtpReceiver__codecs"] = {97: H264, 99: H264, 111: OPUS}
        self.asked: list[Any] = []
        self.to: Reception | None = None

    async def _handle_rtp_packet(self, packet: RtpPacket, arrival_time_ms: int) -> None:
        assert self.to is not None
        if packet.payload_type == 98:
            packet = unwrap_rtx(packet, 97, 7)
            packet._data = packet.payload  # type: ignore[attr-defined]
        self.to.add(packet)

    async def _send_rtcp_nack(self, media_ssrc: int, lost: list[int]) -> None:
        self.asked.append((media_ssrc, lost))

    async def _send_rtcp_pli(self, media_ssrc: int) -> None:
        self.asked.append((media_ssrc, "pli"))


def packet(number: int, payload: bytes = DELTA, *, kind: int = 97, ssrc: int = 7, step: int = 3000) -> RtpPacket:
    """One whole picture, or 20 ms of sound."""
    made = RtpPacket(
        payload_type=kind, marker=1, sequence_number=number % 65536, timestamp=number * step % 2**32, ssrc=ssrc
    )
    made.payload = made._data = payload  # type: ignore[attr-defined]
    return made


def sound(number: int, payload: bytes = OPUS_SILENCE, ssrc: int = 7) -> RtpPacket:
    return packet(number, payload, kind=111, ssrc=ssrc, step=960)


def decoded(reception: Reception) -> list[tuple[int, bytes]]:
    """What waits for the decoder: timestamps and bytes."""
    found = []
    while not reception.queue.empty():
        item = reception.queue.get_nowait()
        found.append((item[1].timestamp, item[1].data))
    return found


async def test_pictures_go_to_the_decoder_at_once_and_holes_are_asked_for() -> None:
    receiver = Receiver()
    pictures = Pictures(receiver)
    pictures.set()  # before anything came: nobody to ask
    await asyncio.sleep(0)
    assert receiver.asked == []
    assert pictures.add(packet(65_535, KEY)) == (False, None)
    pictures.add(packet(65_537))
    assert [ticks for ticks, _ in decoded(pictures)] == [0]
    await eventually(lambda: (7, [0]) in receiver.asked)
    await eventually(lambda: receiver.asked.count((7, [0])) >= 3)  # by a timer of its own
    pictures.add(packet(65_536))
    assert decoded(pictures) == [(3000, DELTA), (6000, DELTA)]
    stats = pictures.stats()
    assert (stats.frames, stats.holes, stats.given_up) == (3, 1, 0) and stats.nacks >= 3
    assert stats.repair_ms is not None and stats.repair_ms > 0
    await pictures.close()
    assert pictures._timer is None and pictures.add(packet(65_538)) == (False, None) and decoded(pictures) == []


@pytest.mark.parametrize("has_rtx", [True, False])
async def test_only_a_repair_tells_how_far_the_sender_is(has_rtx: bool) -> None:
    receiver: Any = Receiver()
    if has_rtx:
        receiver._RTCRtpReceiver__codecs[98] = RTX
    receiver.to = pictures = Pictures(receiver)
    for number in (0, 3, 1):  # 1 was overtaken; or sent again under its own number, where there is no other way
        await receiver._handle_rtp_packet(packet(number, DELTA if number else KEY), 0)
    assert (pictures.stats().repair_ms is None) == has_rtx
    await receiver._handle_rtp_packet(packet(70, b"\0\2" + DELTA, kind=98, ssrc=8) if has_rtx else packet(2), 0)
    assert pictures.stats().repair_ms is not None and len(decoded(pictures)) == 4
    await pictures.close()


async def test_a_hole_is_given_up_without_another_packet() -> None:
    receiver = Receiver()
    pictures = Pictures(receiver)
    for number in (1, 3):
        pictures.add(packet(number, KEY if number == 1 else DELTA))
    await eventually(lambda: (7, "pli") in receiver.asked)
    assert pictures.stats().given_up == 1 and [t for t, _ in decoded(pictures)] == [0]
    await pictures.close()


async def test_after_a_broken_frame_the_next_is_a_keyframe() -> None:
    receiver = Receiver()
    pictures = Pictures(receiver)
    pictures.add(packet(1, KEY))
    assert [t for t, _ in decoded(pictures)] == [0]
    pictures.set()
    assert not pictures.is_set()
    await eventually(lambda: receiver.asked == [(7, "pli")])
    pictures.add(packet(2))
    pictures.add(packet(3, KEY))
    assert [t for t, _ in decoded(pictures)] == [6000]
    await pictures.close()
    pictures.set()
    await asyncio.sleep(0)
    assert receiver.asked == [(7, "pli")]


async def test_a_decoder_that_is_behind_starts_again_with_a_keyframe() -> None:
    receiver = Receiver()
    pictures = Pictures(receiver)
    for number in range(QUEUE_PICTURES + 1):
        pictures.add(packet(number, DELTA if number else KEY))
    pictures.add(packet(QUEUE_PICTURES + 1))  # before the loop gets to ask: what it refers to was thrown away
    assert pictures.queue.empty() and pictures.stats().skipped == QUEUE_PICTURES + 2
    await eventually(lambda: receiver.asked == [(7, "pli")])
    pictures.add(packet(QUEUE_PICTURES + 2))
    pictures.add(packet(QUEUE_PICTURES + 3, KEY))
    assert [data for _, data in decoded(pictures)] == [KEY]
    await pictures.close()


async def test_what_waits_behind_a_broken_frame_is_not_decoded() -> None:
    receiver = Receiver()
    pictures = Pictures(receiver)
    for number in range(3):
        pictures.add(packet(number, DELTA if number else KEY))
    assert pictures.queue.get() is not None  # the decoder takes one, and fails
    await asyncio.to_thread(pictures.set)
    pictures.add(packet(3))
    assert pictures.queue.empty()
    pictures.add(packet(4, KEY))
    pictures.queue.put(None)
    await asyncio.to_thread(pictures.set)
    assert pictures.queue.get() is None and pictures.queue.empty(), "the end stays"
    await pictures.close()


@pytest.mark.parametrize("change", [{"ssrc": 8}, {"kind": 99}])
async def test_another_source_starts_anew(change: dict[str, Any]) -> None:
    pictures = Pictures(Receiver())
    pictures.add(packet(1, KEY))
    pictures.add(packet(500, KEY, **change))
    pictures.add(packet(501, **change))
    assert [t for t, _ in decoded(pictures)] == [0, 3000, 6000]
    await pictures.close()


def heard_by(reception: Sound) -> ReceivedTrack:
    """Who gets the frames."""
    track = reception.router.track = ReceivedTrack("audio", None)
    return track


def numbers(track: ReceivedTrack) -> list[int]:
    """Which 20 ms came since the last call."""
    found = [frame.pts // 960 for frame in track._frames]
    track._frames.clear()
    return found


async def test_sound_is_decoded_in_order_without_waiting() -> None:
    heard = Sound(Receiver())
    heard.add(sound(0))  # for nobody yet
    track = heard_by(heard)
    for number in (1, 2, 4, 3, 5):
        heard.add(sound(number))
    assert numbers(track) == [1, 2, 3, 4, 5]
    heard.add(sound(7))
    await eventually(lambda: bool(track._frames))  # by a timer of its own: 6 is lost, and the gap is to be seen
    assert numbers(track) == [7]
    heard.add(sound(8, b""))  # nothing to decode
    assert numbers(track) == []
    heard.add(sound(9))
    heard.add(sound(11))
    heard.add(sound(300, ssrc=8))
    assert numbers(track) == [9, 11, 12] and heard.queue.empty()
    stats = heard.stats()
    assert (stats.frames, stats.holes, stats.dropped, stats.skipped) == (10, 2, 0, 0)
    await heard.close()


async def test_sound_that_cannot_be_decoded_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    heard = Sound(Receiver())
    track = heard_by(heard)
    for number in range(6):
        heard.add(sound(number, b"\xff" * 9 if number in (1, 2) else OPUS_SILENCE))
    assert numbers(track) == [0, 3, 4, 5] and heard.stats().skipped == 2
    assert [record.levelname for record in caplog.records if "cannot be decoded" in record.message] == ["WARNING"]
    await heard.close()


async def test_the_end_comes_through_a_full_queue() -> None:
    pictures = Pictures(Receiver())
    for number in range(QUEUE_PICTURES):
        pictures.add(packet(number, DELTA if number else KEY))
    pictures.queue.put(None)
    pictures.add(packet(1000))
    assert pictures.queue.qsize() == QUEUE_PICTURES + 1
    await pictures.close()


def test_a_decoder_that_takes_the_last_one_first() -> None:
    queue = DecodeQueue(1, lambda: None, lambda: None)
    assert not queue.drop() and queue.dropped == 0


def test_a_decoder_that_fails_after_the_loop_was_closed() -> None:
    async def make() -> Pictures:
        return Pictures(Receiver())

    asyncio.run(make()).set()
