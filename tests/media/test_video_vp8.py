"""Viewers without H.264 share one VP8 stream, made while they watch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av

from edge_node.aio.clock import SystemClock
from edge_node.encode_plan.plan import Plan
from edge_node.media.video_publication import VideoPublication
from edge_node.media.vp8 import LibvpxCodec
from edge_node.media.vp8_branch import own_copy
from edge_node.ports import VIDEO_CLOCK, AccessUnit, VideoSource
from tests.support.h264 import make_units, painted
from tests.support.video_sink import StubSource, Watching, take
from tests.support.waiting import eventually

PLAN = Plan(320, 240, 30, 400, 50, "libx264", "3.1")
VP8_PLAN = Plan(320, 240, 30, 300, 50, "libvpx", "3.1")
UNITS = make_units(60, gop=30)
BASE = Fraction(1, VIDEO_CLOCK)


@asynccontextmanager
async def publication(source: VideoSource | None = None) -> AsyncIterator[VideoPublication]:
    published = VideoPublication(PLAN, SystemClock(), source or StubSource(), vp8_plan=VP8_PLAN)
    try:
        yield published
    finally:
        await published.close()


@asynccontextmanager
async def playing(published: VideoPublication, coded: bool) -> AsyncIterator[list[float]]:
    """Pictures in real time, raw or as H.264; gives the times of those that were given so far."""
    given: list[float] = []

    async def play() -> None:
        began, frames = asyncio.get_running_loop().time(), painted(30)
        number = 0
        while True:
            await asyncio.sleep(max(0.0, began + number / 30 - asyncio.get_running_loop().time()))
            now = published._clock.monotonic()
            if coded:
                unit = UNITS[number % 60]
                published.unit(AccessUnit(unit.data, unit.keyframe, number * 3000, now))
            else:
                published.picture(frames[number % 30], now)
            number += 1
            given.append(now)

    task = asyncio.create_task(play())
    try:
        yield given
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


def pictures(packets: list[av.Packet[Any]]) -> list[av.VideoFrame]:
    """Decodes VP8 packets with a decoder of its own."""
    codec: Any = av.CodecContext.create("vp8", "r")
    return [frame for packet in packets for frame in codec.decode(av.Packet(bytes(packet)))]


def vp8_view(published: VideoPublication) -> Any:
    return published.track.subscribe("video/VP8")


async def test_offers_h264_first() -> None:
    async with publication() as published:
        assert published.track.mime_types == ("video/H264", "video/VP8")
        view = vp8_view(published)
        assert (view.mime_type, view.id) == ("video/VP8", published.track.id)
    plain = VideoPublication(PLAN, SystemClock())
    assert plain.track.mime_types == ("video/H264",)
    await plain.close()


async def test_two_viewers_share_one_encoder_and_the_h264_encoder_sleeps() -> None:
    async with publication() as published, playing(published, coded=False):
        first = vp8_view(published)
        packets = await take(first, 10)
        assert packets[0].is_keyframe and len(pictures(packets)) == 10
        second = vp8_view(published)
        late = await take(second, 5)
        assert late[0].is_keyframe and len(pictures(late)) == 5
        stats = published.stats()
        assert (stats.viewers, stats.decodes, published._encoder) == (2, 0, None)
        assert stats.encoder == "libvpx" and stats.kbps > 0 and stats.keyframes >= 2
        branch = published._vp8
        assert branch is not None and branch._encoder is not None and branch._encoder.opened == 1


async def test_both_kinds_of_viewers_at_once() -> None:
    async with publication() as published, playing(published, coded=False):
        h264, vp8 = Watching(published.track.subscribe()), Watching(vp8_view(published))
        await eventually(lambda: min(len(h264.packets), len(vp8.packets)) >= 20)
        assert published.stats().viewers == 2
        assert len(pictures(await vp8.end())) >= 20
        count = len(h264.packets)
        await eventually(lambda: len(h264.packets) >= count + 10)
        assert published.stats().encoder == "libx264"
        packets = await h264.end()
        assert [p.is_keyframe for p in packets].count(True) == 1  # nobody felt the other come and go


async def test_hand_through_is_decoded_only_while_such_a_viewer_watches() -> None:
    async with publication(StubSource("rtsp")) as published, playing(published, coded=True):
        through = Watching(published.track.subscribe())
        await eventually(lambda: len(through.packets) >= 20)
        assert published.stats().decodes == 0
        first, second = vp8_view(published), vp8_view(published)
        packets = await take(first, 10)
        assert len(pictures(packets)) == 10
        assert len(pictures(await take(second, 10))) == 10
        stats = published.stats()
        assert (stats.decodes, stats.viewers, stats.encoder) == (1, 3, "passthrough, libvpx")
        first.stop()
        second.stop()
        await eventually(lambda: not published._vp8 or not published._vp8._feeds)
        encodes = published.stats().encodes
        count = len(through.packets)
        await eventually(lambda: len(through.packets) >= count + 15)
        assert (published.stats().encodes, published.stats().viewers) == (encodes, 1)
        await through.end()
        again = vp8_view(published)
        assert (await take(again, 3))[0].is_keyframe
        assert published.stats().decodes == 2


async def test_the_source_may_change_under_its_vp8_viewers() -> None:
    async with publication(StubSource("rtsp")) as published:
        view = vp8_view(published)
        async with playing(published, coded=True):
            await take(view, 5)
        async with playing(published, coded=False):
            await take(view, 10)
        async with playing(published, coded=True):
            packets = await take(view, 5)
        assert all(b.pts > a.pts for a, b in pairwise(packets) if a.pts and b.pts)


async def test_outside_a_call_no_vp8_flows() -> None:
    async with publication() as published, playing(published, coded=False) as given:
        view = vp8_view(published)
        await take(view, 3)
        published.set_active(False)
        encodes, before = published.stats().encodes, len(given)
        await eventually(lambda: len(given) >= before + 5)
        assert published.stats().encodes <= encodes + 1  # the one under way
        published.set_active(True)
        assert (await take(view, 1))[0].is_keyframe


async def test_a_storm_of_requests_is_merged() -> None:
    async with publication() as published, playing(published, coded=False):
        watching = Watching(vp8_view(published))
        await eventually(lambda: watching.packets)
        for _ in range(50):
            watching.view.request_keyframe()
        count = len(watching.packets)
        await eventually(lambda: len(watching.packets) >= count + 20)
        packets = await watching.end()
        assert 2 <= [p.is_keyframe for p in packets].count(True) <= 3


async def test_bitrate_and_plan_reach_the_encoder() -> None:
    async with publication() as published, playing(published, coded=False):
        view = vp8_view(published)
        await take(view, 3)
        view.set_bitrate(120)
        published.set_vp8_plan(replace(VP8_PLAN, width_px=160, height_px=120))
        published.set_vp8_plan(replace(VP8_PLAN, width_px=160, height_px=120))
        watching = Watching(view)
        await eventually(lambda: any(f.width == 160 for p in watching.packets if p.is_keyframe for f in pictures([p])))
        await watching.end()
        branch = published._vp8
        assert branch is not None and branch._encoder is not None and branch._encoder.limited_by_path(120)


async def test_a_picture_is_copied_for_the_second_encoder() -> None:
    frame = painted(1)[0]
    copy = own_copy(frame)
    assert copy is not frame and (copy.to_ndarray() == frame.to_ndarray()).all()
    other = own_copy(frame.reformat(format="rgb24"))
    assert (other.format.name, other.width) == ("yuv420p", 320)


def encoded(codec: LibvpxCodec, frame: av.VideoFrame, at_s: float) -> bool:
    """Whether this picture became a keyframe."""
    frame.pts, frame.time_base = round(at_s * VIDEO_CLOCK), BASE
    (packet,) = codec.encode(frame)
    return packet.is_keyframe


def test_the_rate_follows_soon_downwards_and_slowly_upwards() -> None:
    codec, frames = LibvpxCodec(320, 240, 30, 1000), painted(2)
    keyframes = []
    for number in range(300):
        at_s = number / 30
        if at_s == 2:
            codec.bit_rate = 400_000
        elif at_s == 2.5:
            codec.bit_rate = 1_000_000
        elif at_s == 7:
            codec.bit_rate = 950_000  # hardly another rate
        if encoded(codec, frames[number % 2], at_s):
            keyframes.append(at_s)
    assert keyframes == [0, 2, 6] and codec.opened == 3


def test_a_dip_right_after_opening_waits_a_second() -> None:
    codec, (frame,) = LibvpxCodec(320, 240, 30, 1000), painted(1)
    encoded(codec, frame, 0)
    codec.bit_rate = 300_000
    assert not encoded(codec, frame, 0.5)
    assert encoded(codec, frame, 1.0)
