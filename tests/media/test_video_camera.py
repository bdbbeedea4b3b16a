"""The camera module, with a fake picamera2."""

from __future__ import annotations

import asyncio
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from edge_node.aio.clock import SystemClock
from edge_node.encode_plan.plan import Plan
from edge_node.errors import DeviceMissing, SourceLost
from edge_node.media.camera_source import IPERIOD_ASKED_S, IPERIOD_S, CameraSource, EncoderDemand, Library, LuxReader
from edge_node.ports import VideoSource
from tests.support.clock import ManualClock
from tests.support.fake_picamera2 import UNITS, FakeModule
from tests.support.video_sink import CollectingSink, running
from tests.support.waiting import eventually

PLAN = Plan(640, 480, 30, 2000, 1000, "v4l2m2m", "3.1")
SOFTWARE = replace(PLAN, encoder="libx264")


@asynccontextmanager
async def filming(
    module: FakeModule, plan: Plan = PLAN, askable: bool = True
) -> AsyncIterator[tuple[CameraSource, CollectingSink]]:
    source = CameraSource(plan, SystemClock(), buffers=2, library=lambda: module.library(askable=askable))
    sink = CollectingSink()
    async with running(source.run(sink)):
        await eventually(lambda: sink.count >= 20)
        yield source, sink


async def test_the_board_encodes_and_its_pictures_are_handed_through() -> None:
    module = FakeModule()
    async with filming(module) as (source, sink):
        assert [unit.data for unit in sink.units[:20]] == [unit.data for unit in UNITS[:20]]
        assert [unit.keyframe for unit in sink.units[:16]] == [n % 15 == 0 for n in range(16)]
        assert [unit.timestamp for unit in sink.units[:3]] == [0, 2999, 5999]
        assert module.encoder_arguments == {
            "bitrate": 2_000_000, "repeat": True, "iperiod": IPERIOD_ASKED_S * 30, "framerate": 30,
            "profile": "constrained baseline",
        }  # fmt: skip
        assert module.configured["buffer_count"] == 2
        assert source.demand is not None
        source.demand.request_keyframe()
        assert module.keyframes_forced == 1
    assert source.demand is None
    assert module.open == 0


@pytest.mark.parametrize("plan", [PLAN, SOFTWARE], ids=["coded", "raw"])
async def test_another_rate_takes_effect_while_it_films(plan: Plan) -> None:
    module = FakeModule()
    async with filming(module, plan) as (source, _):
        source.set_plan(plan)
        assert module.controls == {}
        source.set_plan(replace(plan, fps=15, max_kbps=1000))
        assert module.controls == {"FrameRate": 15}
    source.set_plan(replace(plan, fps=10))
    assert module.controls == {"FrameRate": 15}
    async with running(source.run(CollectingSink())):
        await eventually(lambda: module.open == 1 and bool(module.configured))
        await eventually(lambda: module.configured["controls"]["FrameRate"] == 10)


async def test_what_may_not_be_used_names_group_and_supply() -> None:
    def refused() -> Library:
        raise PermissionError(1, "Operation not permitted")

    module = FakeModule()

    def library() -> Library:
        return replace(module.library(), camera=refused)

    with pytest.raises(SourceLost, match="group video"):
        await CameraSource(PLAN, SystemClock(), library=library).run(CollectingSink())


def test_a_lower_ceiling_reaches_the_boards_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def ioctl(_fd: object, _request: int, argument: bytes) -> int:
        asked.append(struct.unpack("=Ii", argument)[1])
        return 0

    monkeypatch.setattr("edge_node.media.camera_source.fcntl.ioctl", ioctl)

    class Encoder:
        vd = 7

    demand = EncoderDemand(Encoder(), PLAN)
    demand.set_plan(replace(PLAN, max_kbps=1500))
    demand.set_bitrate(9000)
    demand.set_bitrate(1200)
    assert asked == [1_500_000, 1_200_000]


async def test_an_old_picamera2_cannot_be_asked_and_makes_more_keyframes() -> None:
    module = FakeModule()
    async with filming(module, askable=False) as (source, _):
        assert source.demand is None
        assert module.encoder_arguments == {"bitrate": 2_000_000, "repeat": True, "iperiod": IPERIOD_S * 30}


async def test_a_board_without_encoder_gives_raw_pictures() -> None:
    module = FakeModule()
    async with filming(module, SOFTWARE) as (source, sink):
        assert (sink.units, source.demand) == ([], None)
        frame, _ = sink.pictures[0]
        assert (frame.width, frame.height, frame.format.name) == (640, 480, "yuv420p")
    assert module.open == 0


@pytest.mark.parametrize("plan", [PLAN, SOFTWARE], ids=["coded", "raw"])
async def test_a_pulled_cable_ends_the_run_and_the_next_one_heals(plan: Plan) -> None:
    module = FakeModule()
    source = CameraSource(plan, SystemClock(), library=module.library, stall_s=0.3, first_picture_s=30.0)
    sink = CollectingSink()
    task = asyncio.create_task(source.run(sink))
    await eventually(lambda: sink.count > 3)
    module.plugged = False
    with pytest.raises(SourceLost, match="ribbon cable"):
        await task
    module.plugged = True
    await eventually(lambda: module.open == 0 and not source._inside)
    seen = sink.count
    async with running(source.run(sink)):
        await eventually(lambda: sink.count > seen)


async def test_no_camera_is_a_missing_device() -> None:
    module = FakeModule()
    module.unplugged_at_start = True
    without_camera: VideoSource = CameraSource(PLAN, SystemClock(), library=module.library)
    with pytest.raises(DeviceMissing, match="no camera module"):
        await without_camera.run(CollectingSink())


@pytest.mark.skipif(os.path.exists("/usr/lib/python3/dist-packages/picamera2"), reason="picamera2 is installed here")
async def test_the_package_to_install_is_named() -> None:
    with pytest.raises(DeviceMissing, match="apt install -y python3-picamera2"):
        await CameraSource(PLAN, SystemClock()).run(CollectingSink())


def test_an_encoder_that_refuses_another_rate_is_asked_once() -> None:
    class Encoder:
        vd = os.open(os.devnull, os.O_RDWR)

    demand = EncoderDemand(Encoder(), PLAN)
    demand.set_bitrate(5000)  # the ceiling, as it is
    assert not demand._rate_refused
    demand.set_bitrate(1500)
    assert demand._rate_refused
    demand.set_bitrate(1200)
    os.close(Encoder.vd)


async def test_controls_are_set_at_once_and_again_when_the_camera_is_opened_anew() -> None:
    module = FakeModule()
    async with filming(module, SOFTWARE) as (source, _):
        source.set_controls({"AnalogueGain": 8.0})
        assert module.controls == {"AnalogueGain": 8.0}
        module.controls.clear()
        kept = source
    sink = CollectingSink()
    async with running(kept.run(sink)):
        await eventually(lambda: sink.count)
        assert module.controls == {"AnalogueGain": 8.0}


async def test_coded_pictures_come_with_the_light_of_the_scene() -> None:
    module = FakeModule()
    source = CameraSource(PLAN, SystemClock(), library=module.library)
    seen: list[float] = []
    source.watch_light(seen.append)
    module.metadata["Lux"] = 3
    async with running(source.run(CollectingSink())):
        await eventually(lambda: seen)
    assert seen[0] == 3.0


def test_the_light_is_looked_at_once_a_second_and_may_be_missing() -> None:
    class Request:
        looked = 0

        def get_metadata(self) -> dict[str, object]:
            self.looked += 1
            return {} if self.looked == 1 else {"Lux": 12.5}

    clock, request, seen = ManualClock(), Request(), list[float]()
    reader = LuxReader(seen.append, clock)
    for _ in range(60):
        reader(request)
        clock.advance(1 / 30)
    assert (request.looked, seen) == (2, [12.5])
