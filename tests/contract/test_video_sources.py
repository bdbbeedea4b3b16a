"""What every video source promises: virtual ones always, a board's cameras with --hardware."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_node.aio.clock import SystemClock
from edge_node.encode_plan.limits import board_limits
from edge_node.encode_plan.plan import Plan, Source, Wish, plan
from edge_node.media.auto_source import detect
from edge_node.media.camera_source import CameraSource
from edge_node.media.encoders.cards import offered_cards
from edge_node.media.file_source import FileSource
from edge_node.media.pattern import PatternSource
from edge_node.media.v4l2_source import V4l2Source
from edge_node.media.video_publication import VideoPublication
from edge_node.media.video_stats import VideoState
from edge_node.ports import VideoSource
from tests.support.fake_picamera2 import FakeModule
from tests.support.fake_v4l2 import FakeCamera
from tests.support.h264 import WITH_B_FRAMES, decoded, make_clip
from tests.support.video_sink import CollectingSink, Watching, running
from tests.support.waiting import eventually

Make = Callable[[Path], VideoSource]
CLOCK = SystemClock()
PLAN = Plan(640, 480, 30, 1500, 500, "libx264", "3.1")
BOARD = board_limits({}, offered_cards().values())


def pattern(folder: Path) -> VideoSource:
    return PatternSource(320, 240, 30, CLOCK)


def film_handed_through(folder: Path) -> VideoSource:
    return FileSource(make_clip(folder / "a.mp4"), CLOCK)


def film_decoded(folder: Path) -> VideoSource:
    return FileSource(make_clip(folder / "b.mp4", options=WITH_B_FRAMES), CLOCK)


def fake_camera(folder: Path) -> VideoSource:
    return CameraSource(Plan(320, 240, 30, 1000, 500, "v4l2m2m", "3.1"), CLOCK, library=FakeModule().library)


def fake_v4l2(folder: Path) -> VideoSource:
    return V4l2Source("/dev/video77", 320, 240, 30, CLOCK, open_device=FakeCamera().device)


def fake_v4l2_that_encodes(folder: Path) -> VideoSource:
    camera = FakeCamera(formats={"H264": {(320, 240): 30}})
    return V4l2Source("/dev/video77", 320, 240, 30, CLOCK, open_device=camera.device)


def real_camera(folder: Path) -> VideoSource:
    chosen = plan(BOARD, Wish(1280, 720, 30, 2000, Source.CAMERA))
    assert isinstance(chosen, Plan)
    return CameraSource(chosen, CLOCK)


def real_v4l2(folder: Path) -> VideoSource:
    devices = detect().capture_devices
    if not devices:
        pytest.skip("no USB camera is plugged in")
    return V4l2Source(devices[0], 640, 480, 30, CLOCK)


EVERY = [
    pytest.param(pattern, id="test"),
    pytest.param(film_handed_through, id="file"),
    pytest.param(film_decoded, id="file-decoded"),
    pytest.param(fake_camera, id="camera-fake"),
    pytest.param(fake_v4l2, id="v4l2-fake"),
    pytest.param(fake_v4l2_that_encodes, id="v4l2-fake-h264"),
    pytest.param(real_camera, id="camera", marks=pytest.mark.hardware),
    pytest.param(real_v4l2, id="v4l2", marks=pytest.mark.hardware),
]


@pytest.mark.parametrize("make", EVERY)
async def test_pictures_come_in_order_of_time(make: Make, tmp_path: Path) -> None:
    source = make(tmp_path)
    sink = CollectingSink()
    async with running(source.run(sink)):
        await eventually(lambda: sink.count >= 15, timeout_s=30)
    captured = [at for _, at in sink.pictures] + [unit.captured_at for unit in sink.units]
    assert captured == sorted(captured)
    assert abs(captured[-1] - CLOCK.monotonic()) < 60
    stamps = [unit.timestamp for unit in sink.units]
    assert stamps == sorted(set(stamps))
    if sink.units:
        assert sink.units[0].keyframe
    assert source.label in ("test", "file", "camera", "v4l2")


@pytest.mark.parametrize("make", EVERY)
async def test_cancelled_it_lets_go_and_can_run_again(make: Make, tmp_path: Path) -> None:
    source = make(tmp_path)
    before = threading.active_count()
    for _ in range(2):
        sink = CollectingSink()
        async with running(source.run(sink)):
            await eventually(lambda sink=sink: sink.count >= 2, timeout_s=30)  # type: ignore[misc]
        seen = sink.count
        await asyncio.sleep(0)
        assert sink.count == seen
        await eventually(lambda: threading.active_count() <= before)


@pytest.mark.parametrize("make", EVERY)
async def test_two_viewers_see_it_whole_at_the_price_of_one(make: Make, tmp_path: Path) -> None:
    source = make(tmp_path)
    published = VideoPublication(PLAN, CLOCK, source)
    try:
        async with running(source.run(published)):
            first = Watching(published.track.subscribe())
            await eventually(lambda: len(first.packets) >= 10, timeout_s=30)
            second = Watching(published.track.subscribe())
            await eventually(lambda: len(second.packets) >= 10, timeout_s=30)
            stats = published.stats()
            assert (stats.state, stats.viewers, stats.source) == (VideoState.LIVE, 2, source.label)
            for who in (first, second):
                packets = await who.end()
                assert packets[0].is_keyframe
                assert len(decoded(packets)) == len(packets)
            assert stats.encodes <= len(first.packets)
    finally:
        await published.close()
