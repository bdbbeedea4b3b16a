"""Our sender and a plain aiortc viewer, on loopback."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from aiortc.rtp import RTCP_RTPFB_NACK, RtcpRtpfbPacket

from edge_node.media.opus_encoder import OpusEncoder
from edge_node.media.views import FanoutTrack
from edge_node.realtime import aiortc_hooks, aiortc_wire
from edge_node.realtime.aiortc_sender import OwnSender
from edge_node.realtime.aiortc_wire import Datagrams
from edge_node.realtime.encoding import EncodePolicy
from edge_node.realtime.local_tracks import LocalTracks
from edge_node.rtp.header import abs_send_time
from tests.support.h264_clip import Clip
from tests.support.peers import CodedVideo
from tests.support.sent import FPS, Player, Viewing, small_clip, viewing
from tests.support.video_sink import CountingDemand
from tests.support.waiting import eventually

TRIES = 5


@pytest.fixture(scope="module")
def clip() -> Clip:
    return small_clip()


@pytest.fixture(autouse=True)
def forget_sockets() -> Iterator[None]:
    yield
    aiortc_wire._without_segments.clear()


def own(viewed: Viewing) -> OwnSender:
    sender = viewed.outlet.own
    assert sender is not None
    return sender


def consecutive(counters: list[int], length: int = 2 * FPS) -> bool:
    return all(b == (a + 1) % length for a, b in pairwise(counters))


async def test_pictures_arrive_complete_in_one_call_each(clip: Clip) -> None:
    track = FanoutTrack("video", "video/H264")
    async with viewing(track) as viewed, Player(track, clip):
        assert consecutive(await viewed.counters(40))
        route = own(viewed)._wire.route
        assert isinstance(route, Datagrams) and route._sock not in aiortc_wire._without_segments
        newest = viewed.packets[-1]
        sent_at = int.from_bytes(abs_send_time(time.time()), "big")
        assert newest.extensions.mid == "0"
        assert (sent_at - newest.extensions.abs_send_time & 0xFFFFFF) / 2**18 < 20
        numbers = [packet.sequence_number for packet in viewed.packets]
        assert all(b == (a + 1) & 0xFFFF for a, b in pairwise(numbers))
        assert own(viewed).counts.failed == own(viewed).counts.blocked == 0


async def test_an_interface_that_cuts_no_datagrams(
    clip: Clip, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(aiortc_wire, "UDP_SEGMENT", 999)  # EINVAL, as old kernels say
    monkeypatch.setattr(aiortc_wire, "_segments", {})
    caplog.set_level(logging.INFO, "edge_node")
    track = FanoutTrack("video", "video/H264")
    async with viewing(track) as viewed, Player(track, clip):
        assert consecutive(await viewed.counters(40))
        route = own(viewed)._wire.route
        assert isinstance(route, Datagrams) and route._sock in aiortc_wire._without_segments
    assert len([r for r in caplog.records if "one by one" in r.message]) == 1


@pytest.mark.parametrize("rtx", [True, False])
async def test_what_is_lost_is_sent_again(clip: Clip, rtx: bool) -> None:
    track = FanoutTrack("video", "video/H264")
    async with viewing(track, rtx=rtx) as viewed:
        media = viewed.outlet.transceiver._codecs[0].payloadType
        seen: set[int] = set()

        def lose(payload_type: int, number: int) -> bool:
            first = number not in seen
            seen.add(number)
            return payload_type == media and first and number % 11 == 3

        viewed.lose = lose
        async with Player(track, clip):
            assert consecutive(await viewed.counters(60))
        assert len(viewed.lost) > 5 and own(viewed).counts.resent >= len(viewed.lost) - 3
        repairs = [p for p in viewed.packets if p.payload_type != media]
        assert bool(repairs) == rtx
        if not rtx:
            got = {p.sequence_number for p in viewed.packets}
            assert len(got & set(viewed.lost)) >= len(viewed.lost) - 3


async def nack(viewed: Viewing, *numbers: int) -> None:
    sender: Any = viewed.outlet.transceiver.sender
    packet = RtcpRtpfbPacket(fmt=RTCP_RTPFB_NACK, ssrc=1, media_ssrc=sender._ssrc)
    packet.lost = list(numbers)
    await sender._handle_rtcp_packet(packet)


async def test_repairs_have_limits(clip: Clip) -> None:
    track = FanoutTrack("video", "video/H264")
    player = Player(track, clip)
    async with viewing(track) as viewed:
        await eventually(lambda: track.viewers == 1)
        for pictures in (12, 24):
            player.play(12)
            await eventually(lambda wanted=pictures: len({p.timestamp for p in viewed.packets}) == wanted)  # type: ignore[misc]
        sender, number = own(viewed), viewed.packets[-1].sequence_number
        await nack(viewed, number, number)
        assert (sender.counts.resent, sender._repeats.suppressed) == (1, 1)
        everything = [p.sequence_number for p in viewed.packets]
        for _ in range(3):
            sender._repeats._answered.clear()
            await nack(viewed, *everything)
        assert sender._budget.refused > 0
        await nack(viewed, number + 5 & 0xFFFF)
        assert sender.counts.too_old == 1
        player.play(7)  # the next keyframe: nobody needs what was before for long
        await eventually(lambda: sender._group == 2)
        sender._keyframe_at -= 5
        resent = sender.counts.resent
        await nack(viewed, number)
        assert (sender.counts.too_old, sender.counts.resent) == (2, resent)


async def test_the_counts_are_right(clip: Clip) -> None:
    track = FanoutTrack("video", "video/H264")
    async with viewing(track) as viewed, Player(track, clip):

        async def report(pc: Any, kind: str) -> Any:
            return next((r for r in (await pc.getStats()).values() if r.type == kind), None)

        await viewed.counters(20)
        told: Any = None
        while told is None:
            await viewed.counters(1)
            told = await report(viewed.pc, "remote-outbound-rtp")
        by_time = sorted(p.timestamp for p in viewed.packets)
        assert 0 < told.packetsSent <= len(viewed.packets)
        heard = sum(len(p.payload) for p in viewed.packets[: told.packetsSent])
        assert told.bytesSent == heard
        sender: Any = viewed.outlet.transceiver.sender
        assert by_time[0] <= sender._RTCRtpSender__rtp_timestamp
        ntp_s = sender._RTCRtpSender__ntp_timestamp / 2**32 - 2_208_988_800
        assert abs(time.time() - ntp_s) < 20
        answered: Any = None
        while answered is None or answered.roundTripTime is None:
            await viewed.counters(1)
            answered = await report(viewed.link.pc, "remote-inbound-rtp")
        assert 0 <= answered.roundTripTime < 5 and answered.packetsLost == 0
        ours = await report(viewed.link.pc, "outbound-rtp")
        transport = await report(viewed.link.pc, "transport")
        assert ours.packetsSent >= told.packetsSent and transport.bytesSent > ours.bytesSent > 0


async def test_the_stock_sender_can_be_had(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(aiortc_hooks.FORCED, "stock")
    track = FanoutTrack("video", "video/H264")
    async with viewing(track) as viewed, Player(track, clip):
        assert viewed.outlet.own is None
        assert consecutive(await viewed.counters(30))


async def test_a_changed_aiortc_gets_the_stock_sender(
    clip: Clip, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(aiortc_hooks, "SENDER_FIELDS", ("rtt", "no_such_thing"))
    aiortc_hooks.missing_hooks.cache_clear()
    aiortc_hooks.is_usable.cache_clear()
    try:
        track = FanoutTrack("video", "video/H264")
        for _ in range(2):
            async with viewing(track) as viewed, Player(track, clip):
                assert viewed.outlet.own is None
                assert consecutive(await viewed.counters(10))
        assert aiortc_hooks.missing_hooks() == ("RTCRtpSender.__init__: _RTCRtpSender__no_such_thing",)
        assert len([r for r in caplog.records if "costs more" in r.message]) == 1
    finally:
        aiortc_hooks.missing_hooks.cache_clear()
        aiortc_hooks.is_usable.cache_clear()


async def test_sound_carries_its_level() -> None:
    track, encoder = FanoutTrack("audio", "audio/opus"), OpusEncoder(48)
    async with viewing(track) as viewed:
        await eventually(lambda: track.viewers == 1)
        for number in range(30):
            data = bytes(encoder.encode(np.zeros(960, np.int16), number * 960))
            track.deliver(data, number * 960, 0.02, level_dbov=-20 - number)
        await eventually(lambda: len(viewed.packets) == 30)
        assert [p.extensions.audio_level for p in viewed.packets] == [(False, 20 + n) for n in range(30)]
        steps = {b.timestamp - a.timestamp & 0xFFFFFFFF for a, b in pairwise(viewed.packets)}
        assert steps == {960}
        assert (await viewed.track.recv()).sample_rate == 48_000
        await nack(viewed, viewed.packets[3].sequence_number)
        assert own(viewed).counts.resent == 1


async def test_frames_that_are_encoded_for_the_sender() -> None:
    async with CodedVideo() as video, viewing(video) as viewed:
        frame = await viewed.track.recv()
        assert (frame.width, frame.height) == (320, 240) and own(viewed)._feed._direct is None


class Closed:
    """A route whose socket is full."""

    prefix, channel = 0, None

    def leave(self, view: memoryview, length: int, stride: int, count: int) -> int:
        return 0


async def test_a_socket_that_is_full_costs_the_others_nothing(clip: Clip) -> None:
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    async with viewing(track) as stuck, viewing(track) as well, Player(track, clip):
        await stuck.counters(5)
        sender = own(stuck)
        route, sender._wire.route = sender._wire.route, Closed()  # type: ignore[assignment]
        before = len(stuck.packets)
        for left in reversed(range(TRIES)):  # a busy machine loses pictures of its own now and then
            asked = demand.keyframes
            if consecutive(await well.counters(45)) and demand.keyframes == asked:
                break
            assert left, "the others lose pictures each time"
        assert sender.counts.blocked > 0 and track.dropped > 0
        assert len(stuck.packets) < before + 20  # some were in flight
        sender._wire.route = route
        seen = await stuck.counters(60)
        jumps = [(a, b) for a, b in pairwise(seen) if b != (a + 1) % (2 * FPS)]
        assert jumps and all(landed % FPS == 0 for _, landed in jumps)  # to a keyframe each time
        assert well.outlet.own is not None and well.outlet.own.counts.blocked == 0


def picture(track: FanoutTrack, size: int, number: int, *, keyframe: bool = False) -> None:
    track.deliver(b"\0\0\0\1\x65" + b"\xaa" * size, number * 3000, 1 / FPS, keyframe=keyframe)


async def test_large_pictures_are_spread_and_small_ones_are_not() -> None:
    track = FanoutTrack("video", "video/H264")
    async with viewing(track) as viewed:
        await eventually(lambda: track.viewers == 1)
        picture(track, 60_000, 0, keyframe=True)
        sender = own(viewed)
        assert sender._job is not None and 0 < sender._job.next < 15  # most of it waits
        picture(track, 500, 1)  # queues up behind
        await eventually(lambda: len(viewed.packets) == 52)
        times = [p.extensions.abs_send_time for p in viewed.packets]
        assert times == sorted(times) and len(set(times)) > 1  # stamped when they leave
        assert (times[-1] - times[0]) / 2**18 > 0.03
        assert [p.marker for p in viewed.packets].count(1) == 2 and viewed.packets[-1].marker
        assert sender._job is None and track.dropped == 0


async def test_a_unit_that_cannot_be_sent_ends_nothing(clip: Clip, caplog: pytest.LogCaptureFixture) -> None:
    track = FanoutTrack("video", "video/H264")
    async with viewing(track) as viewed, Player(track, clip):
        await viewed.counters(3)
        sender = own(viewed)
        template, sender._template = sender._template, None
        await eventually(lambda: sender.counts.failed > 2)
        sender._template = template
        await viewed.counters(40)
    assert len([r for r in caplog.records if "could not be sent" in r.message]) == 1


async def test_the_feed_goes_on_after_a_source_ends(clip: Clip) -> None:
    first, second = FanoutTrack("video", "video/H264"), FanoutTrack("video", "video/H264")
    async with viewing(first) as viewed, Player(first, clip):
        await viewed.counters(5)
        first.close()
        assert viewed.outlet.feed._direct is None
        entry = LocalTracks(lambda _: None, EncodePolicy()).add(second, None, None, "new")
        assert entry is not None
        viewed.outlet.plug(entry.outgoing)
        last = viewed.packets[-1].timestamp
        async with Player(second, clip):
            await viewed.counters(20)
        assert 0 < viewed.packets[-1].timestamp - last & 0xFFFFFFFF < 90_000 * 30
        sender: Any = viewed.outlet.transceiver.sender
        sender._enabled = False
        Player(second, clip).play(1)
