"""The picture of this moment: from raw and from coded pictures, bounded, with nothing that goes on running."""

from __future__ import annotations

import asyncio
import io
from dataclasses import replace

import av
import numpy as np
import pytest

from edge_node.errors import RetryLater, UsageError
from edge_node.media import snapshot as module
from edge_node.media.jpeg import encode_jpeg
from edge_node.media.picture_tap import LUMA_EVERY_S, PictureTap, mean_luma
from edge_node.media.snapshot import GROUP_UNITS, STALE_S, LatestPicture
from edge_node.ports import AccessUnit
from tests.support.clock import ManualClock
from tests.support.h264 import make_units, painted
from tests.support.video_sink import CollectingSink, CountingDemand
from tests.support.waiting import eventually

UNITS = make_units(20, gop=40)


def brightness(jpeg: bytes) -> float:
    with av.open(io.BytesIO(jpeg), "r") as file:
        frame = next(file.decode(video=0))
        return float(frame.to_ndarray(format="gray").mean())


def flat(level: int, width_px: int = 320, height_px: int = 240) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(np.full((height_px * 3 // 2, width_px), level, np.uint8), "yuv420p")


def latest(clock: ManualClock, demand: CountingDemand | None = None) -> LatestPicture:
    return LatestPicture(clock, lambda: demand)


async def test_the_newest_raw_picture_with_nobody_watching() -> None:
    clock = ManualClock()
    picture = latest(clock)
    with pytest.raises(RetryLater, match="no picture"):
        await picture.take(100_000)
    for level in (50, 200):
        picture.picture(flat(level), clock.monotonic())
    clock.advance(0.5)
    shot = await picture.take(100_000)
    assert (shot.width_px, shot.height_px, shot.age_s) == (320, 240, 0.5)
    assert abs(brightness(shot.jpeg) - (200 - 16) * 255 / 219) < 4, "video levels become those of a JPEG"
    clock.advance(STALE_S)
    with pytest.raises(RetryLater, match="status"):
        await picture.take(100_000)
    picture.picture(flat(50), clock.monotonic())
    picture.clear()
    with pytest.raises(RetryLater):
        await picture.take(100_000)


async def test_coded_pictures_are_decoded_from_their_keyframe_when_somebody_asks() -> None:
    clock = ManualClock()
    picture = latest(clock)
    picture.unit(UNITS[1])  # nothing can begin with it
    with pytest.raises(RetryLater):
        await picture.take(100_000)
    for unit in UNITS:
        picture.unit(replace(unit, captured_at=clock.monotonic()))
    assert picture.decoders_opened == 0
    shot = await picture.take(100_000)
    assert (shot.width_px, picture.decoders_opened) == (320, 1)
    wanted = brightness(encode_jpeg(painted(20)[-1], 100_000)[0])
    assert abs(brightness(shot.jpeg) - wanted) < 3


async def test_damaged_pictures_give_an_error_and_no_crash() -> None:
    clock = ManualClock()
    picture = latest(clock)
    picture.unit(AccessUnit(b"\x00\x00\x00\x01\x65garbage", True, 0, clock.monotonic()))
    with pytest.raises(RetryLater, match="decoded"):
        await picture.take(100_000)


async def test_absurd_sizes_take_no_memory() -> None:
    picture = latest(ManualClock())
    picture.unit(make_units(1, width_px=4112, height_px=2320)[0])
    with pytest.raises(RetryLater, match="4096x2304"):
        await picture.take(100_000)


async def test_a_long_group_is_bounded_and_a_keyframe_is_asked_for() -> None:
    clock = ManualClock()
    demand = CountingDemand()
    picture = latest(clock, demand)
    picture.unit(UNITS[0])
    for _ in range(GROUP_UNITS + 5):
        picture.unit(UNITS[1])
    assert picture.overflows == 6
    asked = asyncio.create_task(picture.take(100_000))
    await eventually(lambda: demand.keyframes)
    picture.unit(replace(UNITS[0], captured_at=clock.monotonic()))
    assert (await asked).age_s == 0.0 and demand.keyframes == 1


async def test_a_camera_that_does_not_answer_is_waited_for_in_vain_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEYFRAME_WAIT_S", 0.05)
    clock = ManualClock()
    for demand in (CountingDemand(), None):
        picture = latest(clock, demand)
        picture.unit(UNITS[0])
        for _ in range(40):
            picture.unit(UNITS[1])
        assert (await picture.take(100_000)).width_px == 320


def test_a_jpeg_fits_what_it_is_for() -> None:
    noise = av.VideoFrame.from_ndarray(np.random.default_rng(1).integers(0, 255, (1080, 1280), np.uint8), "yuv420p")
    data, width, height = encode_jpeg(noise, 44_000, 640)
    assert len(data) <= 44_000 and width <= 640 and abs(width / height - 1280 / 720) < 0.1
    assert encode_jpeg(noise, 2_000_000)[1:] == (1280, 720)
    with pytest.raises(UsageError, match="does not fit"):
        encode_jpeg(noise, 100)


def test_a_tap_hands_on_measures_and_shuts() -> None:
    clock = ManualClock()
    sink, seen = CollectingSink(), list[float]()
    tap = PictureTap([sink], clock, seen.append)
    for level in (100, 200):
        tap.picture(flat(level), 0.0)
    clock.advance(LUMA_EVERY_S)
    tap.picture(flat(30), 0.0)
    tap.unit(UNITS[0])
    assert seen == [100.0, 30.0] and sink.count == 4
    tap.shut(True)
    tap.picture(flat(30), 0.0)
    tap.unit(UNITS[0])
    assert sink.count == 4
    tap.shut(False)
    tap.picture(flat(30), 0.0)
    assert sink.count == 5
    assert mean_luma(av.VideoFrame(64, 64, "rgb24")) is None
