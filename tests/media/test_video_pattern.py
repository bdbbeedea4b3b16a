"""The test picture, with what it says about itself."""

from __future__ import annotations

import re

import numpy as np
import pytest

from edge_node.aio.clock import SystemClock
from edge_node.media.luma_stamp import Stamp, draw_stamp, read_stamp
from edge_node.media.pattern import PatternPainter, PatternSource, clock_text
from edge_node.ports import VideoSource
from tests.support.h264 import painted, stamps
from tests.support.video_sink import CollectingSink, running
from tests.support.waiting import eventually


@pytest.mark.parametrize("size", [(160, 96), (320, 240), (1280, 720), (1366, 768)])
def test_the_stamp_survives(size: tuple[int, int]) -> None:
    luma = np.full((size[1], size[0]), 90, dtype=np.uint8)
    for stamp in (Stamp(0, 0), Stamp(123_456, 0xFFFF_FFFF), Stamp(2**32 - 1, 1)):
        draw_stamp(luma, stamp)
        noise = np.random.default_rng(1).integers(-30, 30, luma.shape)
        assert read_stamp(np.clip(luma + noise, 0, 255).astype(np.uint8)) == stamp


@pytest.mark.parametrize("level", [0, 16, 128, 235])
def test_a_plain_picture_carries_no_stamp(level: int) -> None:
    assert read_stamp(np.full((240, 320), level, dtype=np.uint8)) is None


def test_numbers_wrap_at_32_bits() -> None:
    luma = np.zeros((96, 160), dtype=np.uint8)
    draw_stamp(luma, Stamp(2**32 + 5, -1))
    assert read_stamp(luma) == Stamp(5, 2**32 - 1)


def test_the_clock_is_written_as_people_read_it() -> None:
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.250", clock_text(1_800_000_000.25))


def test_something_moves_and_the_clock_changes() -> None:
    first, second = (frame.to_ndarray()[:240] for frame in painted(2))
    assert (first != second).mean() > 0.005
    painter = PatternPainter(1280, 720)
    pictures = [painter.paint(text, Stamp(0, 0), 0.0).to_ndarray() for text in ("12:34:56.789", "12:34:56.780")]
    rows, columns = np.nonzero(pictures[0] != pictures[1])
    assert len(rows) > 500 and columns.min() > 1280 * 3 // 4


def test_every_size_can_be_painted() -> None:
    for size in ((160, 96), (162, 98), (640, 480), (854, 480), (1920, 1080)):
        frame = PatternPainter(*size).paint("00:00:00.000", Stamp(1, 2), 123.4)
        assert (frame.width, frame.height, stamps([frame])) == (*size, [Stamp(1, 2)])


async def test_the_source_is_steady_and_stamps_what_it_gives() -> None:
    clock = SystemClock()
    source: VideoSource = PatternSource(320, 240, 50, clock)
    assert (source.label, source.demand) == ("test", None)
    sink = CollectingSink()
    async with running(source.run(sink)):
        await eventually(lambda: sink.count >= 20)
    read = stamps([frame for frame, _ in sink.pictures])
    assert [stamp.index for stamp in read if stamp] == list(range(len(sink.pictures)))
    for stamp, (_, captured_at) in zip(read, sink.pictures, strict=True):
        assert stamp is not None and abs(stamp.at_ms - captured_at * 1000) <= 1
    after = sink.count
    await eventually(lambda: True)
    assert sink.count == after, "a cancelled source has ended"


async def test_a_source_that_slept_does_not_make_up_for_it() -> None:
    class Sleepy(SystemClock):
        slept_s = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.slept_s

    clock = Sleepy()
    sink = CollectingSink()
    async with running(PatternSource(160, 96, 20, clock).run(sink)):
        await eventually(lambda: sink.count >= 3)
        before = sink.count
        clock.slept_s = 3600.0
        await eventually(lambda: sink.count >= before + 4)  # polled every 10 ms
    assert sink.count - before < 60, "an hour at 20 pictures a second would be 72 000"
