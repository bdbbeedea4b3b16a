"""The one encoder of raw pictures."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from edge_node.encode_plan.plan import Plan
from edge_node.encode_plan.rules import vbv_kbit
from edge_node.media import h264
from edge_node.media.encoders.codec import TIME_BASE
from edge_node.media.encoders.libx264 import open_libx264
from edge_node.media.video_encoder import RETRY_S, VideoEncoder
from tests.support.clock import ManualClock
from tests.support.h264 import decoded, painted, stamps
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from av.video.codeccontext import VideoCodecContext

PLAN = Plan(320, 240, 30, 400, 50, "libx264", "3.1")
NOISE = np.random.default_rng(7)


class Bench:
    """An encoder with its pictures fed one by one and its packets kept."""

    def __init__(self, plan: Plan = PLAN, **options: Any) -> None:
        self.clock = ManualClock(0.0)
        self.packets: list[av.Packet[Any]] = []
        self.opened: list[tuple[int, int, float, int]] = []
        options.setdefault("open_codec", self.open)
        self.encoder = VideoEncoder(plan, self.clock, lambda packet, _: self.packets.append(packet), **options)
        self.encoder.want(True)

    def open(self, width_px: int, height_px: int, fps: float, ceiling_kbps: int) -> VideoCodecContext:
        self.opened.append((width_px, height_px, fps, ceiling_kbps))
        return open_libx264(width_px, height_px, fps, ceiling_kbps)

    async def feed(self, frames: list[av.VideoFrame]) -> list[av.Packet[Any]]:
        """Encodes every frame, 1/30 s apart; the packets."""
        before = len(self.packets)
        for frame in frames:
            self.clock.advance(1 / 30)
            count = len(self.packets) + self.encoder.dropped
            self.encoder.offer(frame, self.clock.monotonic())
            await eventually(lambda count=count: len(self.packets) + self.encoder.dropped > count)  # type: ignore[misc]
        return self.packets[before:]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.encoder.close()


def noisy(count: int, width_px: int = 320, height_px: int = 240) -> list[av.VideoFrame]:
    shape = (height_px * 3 // 2, width_px)
    return [av.VideoFrame.from_ndarray(NOISE.integers(16, 235, shape, dtype=np.uint8), "yuv420p") for _ in range(count)]


def keyframes(packets: list[av.Packet[Any]]) -> list[int]:
    return [index for index, packet in enumerate(packets) if packet.is_keyframe]


async def test_it_makes_constrained_baseline_that_decodes_without_a_fault(bench: Bench) -> None:
    packets = await bench.feed(painted(45))
    first = bytes(packets[0])
    sps = h264.parameter_sets(first)[h264.NAL_SPS]
    assert h264.NAL_PPS in h264.parameter_sets(first)
    assert (sps[1], sps[2] & 0xC0) == (h264.BASELINE, 0xC0)
    assert h264.parse_sps(sps) == h264.Sequence(66, sps[3], 320, 240)
    assert [stamp.index for stamp in stamps(decoded(packets)) if stamp] == list(range(45))
    assert [packet.pts for packet in packets][:3] == [3000, 6000, 9000]


async def test_keyframes_come_only_when_asked_for(bench: Bench) -> None:
    packets = await bench.feed(painted(40))
    assert keyframes(packets) == [0]
    bench.encoder.request_keyframe()
    bench.encoder.request_keyframe()
    packets = await bench.feed(painted(20))
    assert keyframes(packets) == [0]
    assert h264.has_idr(bytes(packets[0])) and h264.parameter_sets(bytes(packets[0]))
    assert len(bench.opened) == 1


async def test_pictures_that_were_keyframes_elsewhere_are_none_here(bench: Bench) -> None:
    frames = painted(10)
    for frame in frames:
        frame.pict_type = av.video.frame.PictureType.I
    assert keyframes(await bench.feed(frames)) == [0]


async def test_the_bit_rate_follows_the_path_without_a_new_encoder(bench: Bench) -> None:
    bench.encoder.set_bitrate(10_000)
    before = sum(packet.size for packet in (await bench.feed(noisy(60)))[30:])
    bench.encoder.set_bitrate(100)
    assert bench.encoder.limited_by_path(100)
    packets = await bench.feed(noisy(60))
    after = sum(packet.size for packet in packets[30:])
    assert after < before / 2
    assert keyframes(packets) == []
    assert len(bench.opened) == 1


def scene(count: int, width_px: int = 640, height_px: int = 352) -> list[av.VideoFrame]:
    """A textured picture that moves, with a camera's noise: more than 2 Mbit/s can show."""
    luck = np.random.default_rng(3)
    ground = luck.normal(128, 30, (height_px // 8 + 20, width_px // 8 + 40)).repeat(8, 0).repeat(8, 1)
    frames = []
    for index in range(count):
        planes = np.full((height_px * 3 // 2, width_px), 128, np.uint8)
        seen = ground[index : index + height_px, 2 * index : 2 * index + width_px]
        planes[:height_px] = np.clip(seen + luck.normal(0, 8, seen.shape), 16, 235)
        frames.append(av.VideoFrame.from_ndarray(planes, "yuv420p"))
    return frames


@pytest.mark.parametrize("preset", ["superfast", "ultrafast"])
def test_x264_follows_its_bit_rate_up_and_down_without_a_keyframe(preset: str) -> None:
    codec = open_libx264(640, 352, 30, 2000, preset)
    frames, index, keyframes_seen = scene(60), 0, 0
    for kbps in (2000, 500, 1000, 300, 2000):
        codec.bit_rate = kbps * 1000
        sizes = []
        for frame in frames:
            frame.pts, frame.time_base, index = index * 3000, TIME_BASE, index + 1
            frame.pict_type = av.video.frame.PictureType.NONE
            for packet in codec.encode(frame):
                sizes.append(packet.size)
                keyframes_seen += packet.is_keyframe
        assert sum(sizes[30:]) * 8 / 1000 == pytest.approx(kbps, rel=0.15)
        assert max(sizes[1:]) * 8 / 1000 <= vbv_kbit(2000)
    assert keyframes_seen == 1


async def test_a_lower_ceiling_needs_no_new_encoder_and_a_higher_one_does(bench: Bench) -> None:
    await bench.feed(painted(3))
    bench.encoder.set_plan(replace(PLAN, max_kbps=200))
    assert keyframes(await bench.feed(painted(3))) == []
    bench.encoder.set_plan(replace(PLAN, max_kbps=400))
    assert keyframes(await bench.feed(painted(3))) == []
    bench.encoder.set_plan(replace(PLAN, max_kbps=800))
    assert keyframes(await bench.feed(painted(3))) == [0]
    assert [opened[3] for opened in bench.opened] == [400, 800]


async def test_another_preset_takes_effect(bench: Bench) -> None:
    await bench.feed(painted(2))
    bench.encoder.set_plan(replace(PLAN, preset="ultrafast"))
    assert keyframes(await bench.feed(painted(2))) == [0]


async def test_nothing_is_encoded_while_nobody_wants_it(bench: Bench) -> None:
    bench.encoder.want(False)
    for frame in painted(5):
        bench.encoder.offer(frame, bench.clock.monotonic())
    assert (bench.encoder.encoded, bench.opened, bench.encoder.dropped) == (0, [], 0)
    bench.encoder.want(True)
    assert keyframes(await bench.feed(painted(3))) == [0]
    bench.encoder.want(False)
    await eventually(lambda: bench.encoder._codec is None)
    bench.encoder.want(True)
    assert keyframes(await bench.feed(painted(3))) == [0]
    assert len(bench.opened) == 2


async def test_the_newest_picture_wins() -> None:
    entered, go_on = threading.Event(), threading.Event()

    def slow_open(width_px: int, height_px: int, fps: float, ceiling_kbps: int) -> VideoCodecContext:
        entered.set()
        assert go_on.wait(20)
        return open_libx264(width_px, height_px, fps, ceiling_kbps)

    bench = Bench(open_codec=slow_open)
    frames = painted(6)
    bench.encoder.offer(frames[0], 0.0)
    await eventually(entered.is_set)
    for index, frame in enumerate(frames[1:], 1):
        bench.encoder.offer(frame, index / 30)
    go_on.set()
    await eventually(lambda: len(bench.packets) == 2)
    assert [stamp.index for stamp in stamps(decoded(bench.packets)) if stamp] == [0, 5]
    assert (bench.encoder.dropped, bench.encoder.late) == (4, 4)
    bench.encoder.close()


async def test_another_size_opens_the_codec_anew_and_none_exceeds_the_plan(bench: Bench) -> None:
    await bench.feed(painted(2))
    packets = await bench.feed(painted(2, 640, 480)) + await bench.feed(painted(2, 160, 96))
    assert [opened[:2] for opened in bench.opened] == [(320, 240), (160, 96)]
    assert keyframes(packets) == [2]
    bench.encoder.set_plan(Plan(160, 120, 30, 200, 50, "libx264", "3.1"))
    await bench.feed(painted(2))
    assert bench.opened[-1] == (160, 120, 30, 200)


async def test_other_pixel_formats_are_converted(bench: Bench) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((240, 320, 3), 128, dtype=np.uint8), "rgb24")
    (packet,) = await bench.feed([frame])
    (picture,) = decoded([packet])
    assert picture.format.name == "yuv420p"


async def test_the_codec_is_told_the_real_rate_of_the_source() -> None:
    rate = [0.0]
    bench = Bench(measured_fps=lambda: rate[0])
    await bench.feed(painted(2))
    rate[0] = 15.2
    await bench.feed(painted(2))
    assert [opened[2] for opened in bench.opened] == [30.0]
    bench.clock.advance(3)
    await bench.feed(painted(2))
    assert [opened[2] for opened in bench.opened] == [30.0, 15.0]
    bench.encoder.close()


async def test_a_faster_source_is_thinned_to_the_plan() -> None:
    bench = Bench(Plan(320, 240, 10, 400, 50, "libx264", "3.1"))
    for index, frame in enumerate(painted(30)):
        bench.encoder.offer(frame, index / 30)
        await eventually(lambda: bench.encoder._slot is None)
    await eventually(lambda: len(bench.packets) + bench.encoder.dropped >= 10)
    assert len(bench.packets) + bench.encoder.dropped <= 11
    bench.encoder.close()


async def test_a_failing_codec_is_opened_once_more() -> None:
    failures = [1]

    def open_codec(width_px: int, height_px: int, fps: float, ceiling_kbps: int) -> VideoCodecContext:
        if failures:
            failures.pop()
            raise av.error.ExternalError(0, "broken")
        return open_libx264(width_px, height_px, fps, ceiling_kbps)

    bench = Bench(open_codec=open_codec)
    assert len(await bench.feed(painted(3))) == 3
    assert bench.encoder.fault is None
    bench.encoder.close()


async def test_a_codec_that_stays_broken_is_reported_and_tried_again_later() -> None:
    broken = [True]
    attempts: list[bool] = []

    def open_codec(width_px: int, height_px: int, fps: float, ceiling_kbps: int) -> VideoCodecContext:
        attempts.append(True)
        if broken:
            raise ValueError("no such codec")
        return open_libx264(width_px, height_px, fps, ceiling_kbps)

    bench = Bench(open_codec=open_codec)
    assert await bench.feed(painted(4)) == []
    assert len(attempts) == 2
    assert bench.encoder.fault is not None and "no such codec" in bench.encoder.fault
    broken.clear()
    bench.clock.advance(RETRY_S)
    assert keyframes(await bench.feed(painted(3))) == [0]
    assert bench.encoder.fault is None
    bench.encoder.close()


async def test_close_ends_the_thread(bench: Bench) -> None:
    await bench.feed(painted(1))
    bench.encoder.close()
    assert not bench.encoder._thread.is_alive()
