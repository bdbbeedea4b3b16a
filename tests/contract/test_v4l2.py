"""Cameras of Video4Linux by one list of cases: a fake always, a board's with --hardware, vivid in the virtual Pi."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from edge_node.media.auto_source import detect
from edge_node.media.v4l2 import videodev2 as v4l2
from tests.contract.v4l2_cases import CASES, TROUBLES, Bench, Trouble
from tests.support.fake_v4l2 import FakeCamera

SIZE = (320, 240)
FAKES = [
    pytest.param(("NV12", "YU12", "YUYV", "UYVY"), id="fake-raw"),
    pytest.param(("MJPG",), id="fake-jpeg"),
    pytest.param(("H264",), id="fake-h264"),
]


def fake(*formats: str) -> tuple[Bench, Trouble]:
    camera = FakeCamera(formats={name: {SIZE: 30} for name in formats}, fails_once=True)
    return Bench("/dev/video77", camera.device, SIZE, 30), camera


@pytest.mark.parametrize("formats", FAKES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_a_camera(case: Callable[[Bench], Awaitable[None]], formats: tuple[str, ...]) -> None:
    bench, _ = fake(*formats)
    await case(bench)


@pytest.mark.parametrize("formats", FAKES)
@pytest.mark.parametrize("case", TROUBLES, ids=lambda case: case.__name__)
async def test_a_camera_in_trouble(case: Callable[[Bench, Trouble], Awaitable[None]], formats: tuple[str, ...]) -> None:
    await case(*fake(*formats))


@pytest.mark.hardware
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_a_usb_camera(case: Callable[[Bench], Awaitable[None]]) -> None:
    devices = detect().capture_devices
    if not devices:
        pytest.skip("no USB camera is plugged in")
    await case(Bench(devices[0], size=(640, 480), fps=30))


def test_a_format_that_is_hidden_is_not_there() -> None:
    bench, _ = fake("NV12", "MJPG")
    assert bench.formats() == ["NV12", "MJPG"]
    assert v4l2.named(v4l2.fourcc("none")) == "none"
