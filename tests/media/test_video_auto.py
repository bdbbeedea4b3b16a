"""Which camera `auto` takes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_node.encode_plan.plan import Plan
from edge_node.errors import DeviceMissing, SourceLost
from edge_node.media.auto_source import (
    CAP_DEVICE_CAPS,
    CAP_VIDEO_CAPTURE,
    CAP_VIDEO_M2M,
    AutoSource,
    Choice,
    Detected,
    choose,
    detect,
    is_capture,
)
from edge_node.ports import VideoSink, VideoSource
from tests.support.video_sink import CollectingSink, CountingDemand, StubSource, running
from tests.support.waiting import eventually

USB = Detected(False, ("/dev/video2", "/dev/video4"))


@pytest.mark.parametrize(
    ("detected", "choice"),
    [
        (Detected(True, ("/dev/video0",)), Choice("camera")),
        (USB, Choice("v4l2", "/dev/video2")),
        (Detected(), Choice("none")),
    ],
)
def test_the_choice(detected: Detected, choice: Choice) -> None:
    assert choose(detected) == choice


def capability(driver: bytes, capabilities: int, device_caps: int = 0) -> bytes:
    return struct.pack("16s32s32sIII12x", driver, b"Some camera", b"bus", 0, capabilities, device_caps)


@pytest.mark.parametrize(
    ("answer", "camera"),
    [
        (capability(b"uvcvideo", CAP_DEVICE_CAPS | CAP_VIDEO_CAPTURE, CAP_VIDEO_CAPTURE), True),
        (capability(b"uvcvideo", CAP_DEVICE_CAPS | CAP_VIDEO_CAPTURE, 0x00800000), False),  # its metadata node
        (capability(b"old", CAP_VIDEO_CAPTURE), True),
        (capability(b"unicam", CAP_VIDEO_CAPTURE), False),
        (capability(b"some-codec", CAP_VIDEO_CAPTURE | CAP_VIDEO_M2M), False),
    ],
)
def test_which_node_is_a_camera(answer: bytes, camera: bool) -> None:
    assert is_capture(answer) is camera


def test_files_that_are_no_devices_are_no_cameras(tmp_path: Path) -> None:
    for name in ("video0", "video10", "videos"):
        (tmp_path / name).touch()
    (tmp_path / "video3").mkdir()
    assert detect(tmp_path).capture_devices == ()


async def test_it_looks_each_time_it_runs() -> None:
    found = [Detected(), USB]
    made: list[Choice] = []
    demand = CountingDemand()

    def make(choice: Choice) -> VideoSource:
        made.append(choice)
        return StubSource("v4l2", demand)

    source = AutoSource(make, lambda: found.pop(0))
    assert (source.label, source.demand, source.decoders_opened) == ("auto", None, 0)
    with pytest.raises(DeviceMissing, match="no camera"):
        await source.run(CollectingSink())
    async with running(source.run(CollectingSink())):
        await eventually(lambda: source.label == "v4l2")
        assert source.demand is demand
    assert made == [Choice("v4l2", "/dev/video2")]


async def test_another_plan_and_who_watches_the_light_reach_a_source_that_takes_them() -> None:
    told: list[Plan] = []
    seen: list[float] = []

    class Camera(StubSource):
        on_lux: Callable[[float], None] | None = None

        def set_plan(self, plan: Plan) -> None:
            told.append(plan)

        def watch_light(self, on_lux: Callable[[float], None]) -> None:
            self.on_lux = on_lux

    plan = Plan(640, 480, 30, 1000, 50, "v4l2m2m", "3.1")
    for made in (StubSource("v4l2"), Camera("camera")):
        source = AutoSource(lambda _, made=made: made, lambda: USB)  # type: ignore[misc]
        source.set_plan(plan)
        source.watch_light(seen.append)
        async with running(source.run(CollectingSink())):
            await eventually(lambda source=source: source.label != "auto")  # type: ignore[misc]
            source.set_plan(plan)
        if isinstance(made, Camera) and made.on_lux is not None:
            made.on_lux(4.0)
    assert (told, seen) == ([plan], [4.0])


async def test_decoders_of_all_its_sources_are_counted() -> None:
    class Dying(StubSource):
        decoders_opened = 2

        async def run(self, sink: VideoSink) -> None:
            raise SourceLost("unplugged")

    source = AutoSource(lambda choice: Dying(), lambda: USB)
    for _ in range(2):
        with pytest.raises(SourceLost):
            await source.run(CollectingSink())
    assert source.decoders_opened == 4
