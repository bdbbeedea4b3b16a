"""Streams that browsers cannot be given: decoded once, or refused with the reason."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.aio.clock import SystemClock
from edge_node.aio.tasks import cancel_and_wait
from edge_node.encode_plan.plan import Plan
from edge_node.errors import SourceLost
from edge_node.media.rtsp.hevc import HevcPictures, HevcSets
from edge_node.media.rtsp.jpeg import JpegPictures, quantizers
from edge_node.media.rtsp.sdp import AudioTrack
from edge_node.media.rtsp.sound import SoundPackets
from edge_node.media.rtsp.source import RtspSource
from edge_node.media.rtsp.timeline import Timeline
from edge_node.media.transcode import Judge
from edge_node.media.video_publication import VideoPublication
from edge_node.media.video_stats import VideoState
from edge_node.ports import AccessUnit
from tests.media.test_video_vp8 import pictures
from tests.support.foreign_clip import ForeignClip, foreign_clip
from tests.support.h264 import decoded, stamps
from tests.support.h264_clip import Clip, clip_of
from tests.support.rtsp_server import RtspServer, rtp
from tests.support.video_sink import Watching, take
from tests.support.waiting import eventually

PLAN = Plan(320, 240, 30, 400, 50, "libx264", "3.1")
HEVC = foreign_clip("H265")
JPEG = foreign_clip("JPEG")
B_FRAMES = foreign_clip("H264")


@asynccontextmanager
async def node(server: RtspServer, judge: Judge | None = None) -> AsyncIterator[VideoPublication]:
    """A publication that a source plays into; what ended the source is kept in `published.ended`."""
    source = RtspSource(server.url)
    published = VideoPublication(PLAN, SystemClock(), source, vp8_plan=PLAN, judge=judge or (lambda *_: None))
    task = asyncio.create_task(source.run(published))
    published.ended = task  # type: ignore[attr-defined]
    try:
        yield published
    finally:
        await cancel_and_wait(task, grace_s=5)
        if not task.cancelled():
            task.exception()
        await published.close()


def ended(published: VideoPublication) -> asyncio.Task[None]:
    task: asyncio.Task[None] = published.ended  # type: ignore[attr-defined]
    return task


def numbers(packets: Sequence[av.Packet[Any]]) -> list[int]:
    return [stamp.index for stamp in stamps(decoded(list(packets))) if stamp]


@pytest.mark.parametrize("foreign", [HEVC, JPEG], ids=["H.265", "JPEG"])
async def test_is_decoded_and_encoded_once_in_the_order_of_showing(clip: Clip, foreign: ForeignClip) -> None:
    async with RtspServer(clip, foreign=foreign) as server, node(server) as published:
        await eventually(lambda: published.stats().width_px == 320)  # by its first picture, though nobody watches
        await eventually(lambda: published._transcode._decoder is None)
        assert (published.stats().encodes, published.stats().decodes) == (0, 1)
        watching = [Watching(published.track.subscribe()) for _ in range(2)]
        await eventually(lambda: min(len(one.packets) for one in watching) >= 25)
        stats = published.stats()
        assert (stats.state, stats.encoder, stats.decodes) == (VideoState.LIVE, "libx264", 2)
        assert stats.limited_by is not None and "transcode" in stats.limited_by
        assert isinstance(published.source, RtspSource)
        assert "decoded and encoded again" in (published.source.warning or "")
        first, second = [(await one.end())[:25] for one in watching]
        shown = numbers(first)
        assert len(shown) == 25 and all((b - a) % 30 in (1, 2, 3) for a, b in pairwise(shown[1:]))
        assert [bytes(p) for p in first] == [bytes(p) for p in second]
        await eventually(lambda: published._transcode._decoder is None)


async def test_vp8_from_the_same_decoder(clip: Clip) -> None:
    async with RtspServer(clip, foreign=JPEG) as server, node(server) as published:
        h264, vp8 = Watching(published.track.subscribe()), Watching(published.track.subscribe("video/VP8"))
        await eventually(lambda: min(len(h264.packets), len(vp8.packets)) >= 10)
        assert len(pictures(await vp8.end())) >= 10
        assert published.stats().decodes <= 2  # one may have been opened to see the size
        await h264.end()


async def test_b_frames_are_put_in_order() -> None:
    clip = clip_of(b"".join(B_FRAMES.pictures), 30)
    async with RtspServer(clip) as server:
        server.order = B_FRAMES.order
        assert sorted(server.order) == list(range(30)) and list(server.order) != sorted(server.order)
        async with node(server) as published:
            await eventually(lambda: published.stats().limited_by == "transcode")
            packets = await take(published.track.subscribe(), 20)
        shown = numbers(packets)
        assert all((b - a) % 30 in (1, 2, 3) for a, b in pairwise(shown[1:]))


async def test_a_board_that_cannot_says_why(clip: Clip) -> None:
    def judge(codec: str, width_px: int, height_px: int) -> str | None:
        return f"too slow for {codec} of {width_px}x{height_px}"

    async with RtspServer(clip, foreign=HEVC) as server, node(server, judge) as published:
        with pytest.raises(SourceLost, match="too slow for hevc of 320x240"):
            async with asyncio.timeout(30):
                await ended(published)
        assert not published._transcode._decoder


async def test_pictures_that_cannot_be_decoded_are_said_so(clip: Clip) -> None:
    broken = ForeignClip("JPEG", JPEG.pictures, JPEG.order)
    async with RtspServer(clip, foreign=broken) as server:
        server.payloads = [[(bytes(4) + bytes((1, 50, 255, 255)) + b"\xff\xc4", True)]] * 30
        async with node(server) as published:
            published.track.subscribe()
            with pytest.raises(SourceLost, match="cannot be decoded"):
                async with asyncio.timeout(30):
                    await ended(published)


# The packets themselves


def packets(foreign: ForeignClip, payload_type: int) -> list[bytes]:
    found, sequence = [], 0
    for number, payloads in enumerate(foreign.payloads()):
        for payload, marker in payloads:
            tick = foreign.order[number] * 3000
            found.append(rtp(payload, sequence, tick, marker=marker, ssrc=7, payload_type=payload_type))
            sequence += 1
    return found


def taken(stream: HevcPictures | JpegPictures, data: Sequence[bytes]) -> list[AccessUnit]:
    return [unit for number, packet in enumerate(data) for unit in stream.feed(packet, number / 300)]


def jpeg_stream() -> JpegPictures:
    return JpegPictures(26, Timeline())


def hevc_stream() -> HevcPictures:
    return HevcPictures(96, HevcSets(), Timeline())


def shown(codec_name: str, units: Sequence[AccessUnit]) -> list[int]:
    codec: Any = av.CodecContext.create(codec_name, "r")
    frames = [frame for unit in units for frame in codec.decode(av.Packet(unit.data))] + codec.decode(None)
    return [stamp.index for stamp in stamps(frames) if stamp]


def test_hevc_goes_through_whole() -> None:
    units = taken(hevc_stream(), packets(HEVC, 96))
    assert {unit.decode_as for unit in units} == {"hevc"}
    assert [unit.keyframe for unit in units].count(True) == 2
    assert [unit.timestamp // 3000 for unit in units] == list(HEVC.order)
    assert shown("hevc", units) == list(range(30))


def test_jpeg_goes_through_whole() -> None:
    units = taken(jpeg_stream(), packets(JPEG, 26))
    assert all(unit.keyframe and unit.decode_as == "mjpeg" for unit in units)
    assert shown("mjpeg", units) == list(range(30))


@pytest.mark.parametrize(
    ("stream", "data", "codec"),
    [(hevc_stream(), packets(HEVC, 96), "hevc"), (jpeg_stream(), packets(JPEG, 26), "mjpeg")],
    ids=["H.265", "JPEG"],
)
def test_a_hole_costs_pictures_but_breaks_none(
    stream: HevcPictures | JpegPictures, data: list[bytes], codec: str
) -> None:
    units = taken(stream, [packet for number, packet in enumerate(data) if number % 11])
    assert stream.counters.dropped_units and len(units) < 30
    assert set(shown(codec, units)) <= set(range(30))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x60",
        b"\x60\x01\x00",
        b"\x60\x01\x00\x09ab",
        b"\x62\x01\x80",
        b"\x62\x01\xb0\x00",
        b"\x62\x01\x01\x00",
        b"\x64\x01\x00\x00",
        b"\x46\x01\x50",
        b"\x40\x01" + bytes(5000),
        b"\x02\x01\x00\x00",
    ],
)
def test_hevc_rubbish_is_dropped(payload: bytes) -> None:
    stream = hevc_stream()
    good = packets(HEVC, 96)
    wrong = rtp(payload, 0xFFFF, 0xFFFF_0000, marker=True, ssrc=7)
    assert shown("hevc", taken(stream, [wrong, *good])) == list(range(30))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        bytes(7),
        bytes(4) + bytes((1, 0, 40, 30)),
        bytes(4) + bytes((1, 120, 40, 30)),
        bytes(4) + bytes((2, 50, 40, 30)),
        bytes(4) + bytes((200, 50, 40, 30)),
        bytes(4) + bytes((1, 50, 0, 30)),
        bytes(4) + bytes((1, 255, 40, 30)),
        bytes(4) + bytes((1, 255, 40, 30, 0, 0, 0, 0)),
        bytes(4) + bytes((1, 255, 40, 30, 0, 1, 0, 64)) + bytes(64),
        bytes(4) + bytes((1, 255, 40, 30, 0, 0, 0, 64)),
        bytes(3) + b"\x09" + bytes((1, 50, 40, 30)) + b"x",
        bytes(4) + bytes((65, 50, 40, 30)),
    ],
)
def test_jpeg_rubbish_is_dropped(payload: bytes) -> None:
    stream = jpeg_stream()
    wrong = rtp(payload, 0xFFFF, 0xFFFF_0000, marker=True, ssrc=7, payload_type=26)
    assert shown("mjpeg", taken(stream, [wrong, *packets(JPEG, 26)])) == list(range(30))


def test_jpeg_with_a_quality_number_and_restarts() -> None:
    head = bytes(4) + bytes((65, 75, 40, 30)) + b"\x00\x04\xff\xff"
    (unit,) = taken(jpeg_stream(), [rtp(head + b"scan", 1, 0, marker=True, ssrc=7, payload_type=26)])
    assert quantizers(75)[:64] in unit.data and b"\xff\xdd\x00\x04\x00\x04" in unit.data and unit.data.endswith(b"scan")
    assert (quantizers(50)[0], max(quantizers(1)), set(quantizers(99)[:8])) == (16, 255, {1})


@given(st.lists(st.binary(max_size=60), max_size=30))
def test_garbage_never_crashes(payloads: list[bytes]) -> None:
    sound = SoundPackets(AudioTrack(96, "", "MPEG4-GENERIC", 16_000, 1, b"\x14\x08"))
    streams = (hevc_stream(), JpegPictures(96, Timeline()))
    for number, payload in enumerate(payloads):
        packet = rtp(payload, number, number // 3, marker=number % 3 == 2, ssrc=7)
        for stream in streams:
            stream.feed(packet, number / 30)
        sound.feed(packet)
        sound.feed(payload)


async def test_hevc_parameter_sets_of_the_description_alone_do(clip: Clip) -> None:
    sets = {payload[0] >> 1 & 0x3F: payload for payload in nals(HEVC.pictures[0])}
    texts = {name: base64.b64encode(sets[kind]).decode() for name, kind in (("vps", 32), ("sps", 33), ("pps", 34))}
    fmtp = "a=fmtp:96 " + ";".join(f"sprop-{name}={text}" for name, text in texts.items())
    bare = [b"".join(b"\0\0\1" + n for n in nals(p) if not 32 <= n[0] >> 1 & 0x3F <= 34) for p in HEVC.pictures]
    foreign = ForeignClip("H265", tuple(bare), HEVC.order)
    async with RtspServer(clip, foreign=foreign, sdp=foreign.sdp(fmtp + "\r\n")) as server, node(server) as published:
        await eventually(lambda: published.stats().width_px == 320)


def nals(picture: bytes) -> list[bytes]:
    return [nal for part in picture.split(b"\0\0\1") if (nal := part.rstrip(b"\0"))]
