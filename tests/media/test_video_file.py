"""Films in place of a camera."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import pytest

from edge_node.aio.clock import SystemClock
from edge_node.errors import SettingsError
from edge_node.media import h264
from edge_node.media.file_source import FileSource, Picture, may_hand_through
from edge_node.media.packet_queue import GOP_CACHE_BYTES, GOP_CACHE_S
from edge_node.ports import VIDEO_CLOCK, VideoSource
from tests.support.clock import ManualClock
from tests.support.h264 import WITH_B_FRAMES, decoded, make_clip, make_units, stamps
from tests.support.video_sink import CollectingSink, running
from tests.support.waiting import eventually

UNITS = make_units(8, gop=4)


async def play(path: Path, count: int) -> tuple[CollectingSink, FileSource]:
    source = FileSource(path, SystemClock())
    sink = CollectingSink(keep=count)
    async with running(source.run(sink)):
        await eventually(lambda: sink.count >= count)
    return sink, source


@pytest.mark.parametrize("ending", ["mp4", "mkv", "ts", "h264"])
async def test_baseline_is_handed_through_and_loops(tmp_path: Path, ending: str) -> None:
    sink, source = await play(make_clip(tmp_path / f"a.{ending}", seconds=0.4, gop_s=0.2), 30)
    assert (len(sink.pictures), source.decoders_opened) == (0, 0)
    times = [unit.timestamp for unit in sink.units]
    assert times == sorted(set(times))
    steps = [(second - first) / VIDEO_CLOCK for first, second in itertools.pairwise(times)]
    assert min(steps) > 0.03 and max(steps) < 0.04, "also from the end of a round to the next"
    keyframes = [unit for unit in sink.units if unit.keyframe]
    assert len(keyframes) == 5
    assert all(set(h264.parameter_sets(unit.data)) == {h264.NAL_SPS, h264.NAL_PPS} for unit in keyframes)
    packets: list[av.Packet[Any]] = [av.Packet(unit.data) for unit in sink.units]
    assert [stamp.index for stamp in stamps(decoded(packets)) if stamp] == [n % 12 for n in range(30)]


@pytest.mark.parametrize(
    "options", [{"codec": "mpeg4"}, {"options": WITH_B_FRAMES}, {"gop_s": 100.0, "seconds": GOP_CACHE_S + 1}]
)
async def test_everything_else_is_decoded(tmp_path: Path, options: dict[str, Any]) -> None:
    clip = make_clip(tmp_path / "a.mp4", **{"seconds": 0.4, "width_px": 160, "height_px": 96, **options})
    sink, source = await play(clip, 20)
    assert (len(sink.units), len(sink.pictures)) == (0, 20)
    assert source.decoders_opened >= 1
    read = [stamp.index for stamp in stamps([frame for frame, _ in sink.pictures]) if stamp]
    assert read[:12] == list(range(12))


async def test_a_file_that_cannot_be_played_is_a_wrong_setting(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film")
    with av.open(str(tmp_path / "sound.wav"), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame(format="s16", layout="mono", samples=800)
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    for name in ("none.mp4", "text.mp4", "sound.wav", "."):
        source: VideoSource = FileSource(tmp_path / name, SystemClock())
        with pytest.raises(SettingsError, match=r"video\.file"):
            await source.run(CollectingSink())


async def test_a_clock_that_jumped_is_not_made_up_for(tmp_path: Path) -> None:
    clock = ManualClock()
    sink = CollectingSink()
    async with running(FileSource(make_clip(tmp_path / "a.mp4", seconds=0.4), clock).run(sink)):
        await eventually(lambda: sink.count >= 2)
        clock.advance(3600)
        before = sink.count
        await eventually(lambda: sink.count >= before + 2)
    assert sink.units[-1].timestamp < 10 * VIDEO_CLOCK


def pictures(count: int = 8) -> list[Picture]:
    return [Picture(unit.data, unit.keyframe, unit.captured_at) for unit in UNITS[:count]]


def test_what_may_be_handed_through() -> None:
    film = pictures()
    assert may_hand_through(iter(film))
    assert may_hand_through(iter([replace(picture, time_s=None) for picture in film]))


def test_what_may_not() -> None:
    film = pictures()
    swapped = [film[0], film[2], film[1]]
    far = [film[0], replace(film[1], time_s=GOP_CACHE_S + 1)]
    fat = [film[0], replace(film[1], data=bytes(GOP_CACHE_BYTES))]
    unknown = [replace(film[0], data=film[1].data)]
    for other in (swapped, far, fat, unknown):
        assert not may_hand_through(iter(other))
