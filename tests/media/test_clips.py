"""Clips of a press: from before it, playable, whole or not at all, never more than allowed."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge_node.aio.clock import SystemClock
from edge_node.encode_plan.plan import Plan
from edge_node.errors import DeviceMissing, UsageError
from edge_node.media.audio_publication import AudioPublication
from edge_node.media.clip_ring import Piece
from edge_node.media.clip_shelf import Clip, ClipShelf
from edge_node.media.clips import ClipRecorder
from edge_node.media.mp4 import mp4
from edge_node.media.opus_encoder import OpusEncoder
from edge_node.media.pattern import PatternSource
from edge_node.media.video_publication import VideoPublication
from tests.support.h264 import make_units
from tests.support.video_sink import CountingDemand, StubSource, running
from tests.support.waiting import eventually

UNITS = make_units(90, gop=30)
PLAN = Plan(320, 240, 30, 400, 50, "libx264", "3.1")
AT = 1_800_000_000.0


class Told:
    """Report that remembers."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def up(self) -> None:
        self.words.append("up")

    def down(self, reason: str) -> None:
        self.words.append(reason)


def film(count: int = 60, *, sound: bool = False) -> list[Piece]:
    pieces = [Piece(unit.data, 5.0 + i / 30, unit.keyframe) for i, unit in enumerate(UNITS[:count])]
    if sound:
        opus = OpusEncoder()
        packets = [bytes(opus.encode(np.zeros(960, np.int16), i * 960)) for i in range(count * 5 // 3)]
        pieces += [Piece(data, 5.001 + i / 50, True, sound=True) for i, data in enumerate(packets)]
    return [pieces[0], *sorted(pieces[1:], key=lambda piece: piece.at_s)]


def played(path: Path) -> tuple[int, float, int]:
    """(pictures decoded, seconds, samples of sound)."""
    with av.open(str(path)) as file:
        pictures = sum(1 for _ in file.decode(video=0))
        seconds = float(file.duration or 0) / 1_000_000
    with av.open(str(path)) as file:
        samples = sum(frame.samples for frame in file.decode(audio=0)) if file.streams.audio else 0
    return pictures, seconds, samples


@pytest.mark.parametrize("sound", [False, True])
def test_an_mp4_has_every_picture_and_the_sound_untouched(tmp_path: Path, sound: bool) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(mp4(film(sound=sound)))
    pictures, seconds, samples = played(path)
    assert pictures == 60 and 1.9 < seconds < 2.1
    assert bool(samples) is sound
    if sound:
        assert abs(samples / 48_000 - 2.0) < 0.05


@pytest.mark.parametrize("pieces", [[], film()[1:3], [Piece(b"\x00\x00\x01\x65", 0.0, True)]])
def test_what_does_not_begin_with_a_keyframe_is_no_clip(pieces: list[Piece]) -> None:
    with pytest.raises(ValueError, match="keyframe"):
        mp4(pieces)


def test_the_shelf_deletes_the_oldest_and_lists_only_whole_clips(tmp_path: Path) -> None:
    shelf = ClipShelf(tmp_path / "clips", 1000)
    assert shelf.clips() == []
    shelf.open()
    for second in range(5):
        shelf.add(bytes(300), "ring", AT + second)
    names = [clip.name for clip in shelf.clips()]
    assert names == [f"20270115T08000{second}Z-ring.mp4" for second in (2, 3, 4)]
    shelf.add(bytes(300), "ring", AT + 4)
    assert [clip.name[15:] for clip in shelf.clips()][1:] == ["Z-ring.mp4", "Z-ring.2.mp4"]
    with pytest.raises(UsageError, match="max_mb"):
        shelf.add(bytes(2000), "ring", AT)
    # A power cut while a clip was written:
    (shelf.directory / "20270115T090000Z-ring.mp4.part").write_bytes(b"half")
    (shelf.directory / "somebody's.mp4").write_bytes(b"not ours")
    assert len(shelf.clips()) == 3
    shelf.open()
    assert not list(shelf.directory.glob("*.part")) and (shelf.directory / "somebody's.mp4").exists()
    shelf.delete(shelf.clips()[0].name)
    assert len(shelf.clips()) == 2
    for name in ("../../etc/passwd", "20270115T000000Z-ring.mp4", "somebody's.mp4"):
        with pytest.raises(UsageError, match="no clip"):
            shelf.delete(name)


def test_a_clock_that_was_set_back_does_not_make_the_newest_the_first_to_go(tmp_path: Path) -> None:
    shelf = ClipShelf(tmp_path, 1000)
    shelf.add(bytes(300), "ring", AT)
    shelf.add(bytes(300), "ring", AT + 60)
    for second in range(4):  # without a network or a battery the clock begins somewhere in the past
        shelf.add(bytes(300), "ring", AT - 86_400 + second)
    names = [clip.name for clip in shelf.clips()]
    assert names == [f"20270114T08000{second}Z-ring.mp4" for second in (1, 2, 3)]
    shelf.add(bytes(300), "ring", AT + 120)
    assert [clip.name for clip in shelf.clips()] == [*names[1:], "20270115T080200Z-ring.mp4"]
    assert [clip.at for clip in shelf.clips()] == [AT - 86_398, AT - 86_397, AT + 120]
    shelf.delete(names[2])
    (tmp_path / "20271399T080200Z-ring.mp4").write_bytes(b"no such day")
    assert len(shelf.clips()) == 2


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = ClipShelf(tmp_path, 1000)
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        shelf.add(b"x", "ring", AT)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_takes_the_oldest_clips_but_no_more_than_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf, room = ClipShelf(tmp_path, 1_000_000), 1000

    def fsync(fd: int) -> None:
        if sum(path.stat().st_size for path in tmp_path.iterdir()) > room:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    for second in range(4):
        shelf.add(bytes(300), "ring", AT + second)
    assert [clip.name[13:15] for clip in shelf.clips()] == ["01", "02", "03"]
    shelf.add(bytes(600), "ring", AT + 4)
    assert [clip.name[13:15] for clip in shelf.clips()] == ["03", "04"]
    for second in range(5, 7):
        shelf.add(bytes(20), "ring", AT + second)
    room = 0
    with pytest.raises(OSError, match="No space"):
        shelf.add(bytes(10), "ring", AT + 7)
    assert [clip.name[13:15] for clip in shelf.clips()] == ["04", "05", "06"], "one went in vain, and no more"


@asynccontextmanager
async def recorder(shelf: ClipShelf | None, **how: Any) -> AsyncIterator[tuple[ClipRecorder, VideoPublication, Told]]:
    """A recorder of half a second after the press, beside a publication."""
    clock = SystemClock()
    video = VideoPublication(PLAN, clock, StubSource())
    told = Told()
    one = ClipRecorder(shelf, video.track, None, clock, **{"pre_s": 1.0, "post_s": 0.5, "demand": lambda: None, **how})
    try:
        async with running(one.run(told)):
            yield one, video, told
    finally:
        await video.close()


def give(one: ClipRecorder, begin: int, end: int) -> None:
    now = SystemClock().monotonic()
    for index in range(begin, end):
        one.unit(replace(UNITS[index], timestamp=index * 3000, captured_at=now + (index - end) / 30))


async def test_coded_pictures_from_before_the_press_without_a_view_or_an_encoder(tmp_path: Path) -> None:
    saved: list[Clip] = []
    async with recorder(ClipShelf(tmp_path, 10_000_000), on_saved=saved.append) as (one, video, told):
        give(one, 0, 60)
        one.press("ring")
        one.press("ring")
        give(one, 60, 90)
        await eventually(lambda: saved)
        assert one.own_views == 0 and video.stats().encodes == 0 and not one.recording
        assert [clip.name for clip in one.clips()] == [saved[0].name] and told.words[-1] == "up"
    assert played(tmp_path / saved[0].name)[0] == 90, "from the keyframe a second before the press"


async def test_raw_pictures_come_from_the_one_encoder_with_sound_while_nobody_watches(tmp_path: Path) -> None:
    clock = SystemClock()
    source = PatternSource(320, 240, 30, clock)
    video = VideoPublication(PLAN, clock, source)
    audio = AudioPublication(clock)
    shelf = ClipShelf(tmp_path, 10_000_000)
    one = ClipRecorder(shelf, video.track, audio.track, clock, pre_s=1.0, post_s=0.5, demand=lambda: None)

    class Both:
        def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
            one.picture(frame, captured_at)
            video.picture(frame, captured_at)

        unit = video.unit

    async with running(one.run(Told())), running(audio.run()), running(source.run(Both())):
        await eventually(lambda: (one._ring.newest_keyframe_s or 0) > clock.monotonic() - 1 and one._ring.bytes > 5000)
        one.press("ring")
        await eventually(shelf.clips, timeout_s=30)
        assert one.own_views == 1
    assert one.own_views == 0 and video.track.viewers == 0
    pictures, _, samples = played(tmp_path / shelf.clips()[0].name)
    assert pictures > 5 and samples > 5000
    await video.close()
    audio.close()


async def test_a_disk_that_refuses_degrades_and_is_used_again(tmp_path: Path) -> None:
    in_the_way = tmp_path / "clips"
    in_the_way.write_text("")
    async with recorder(ClipShelf(in_the_way, 10_000_000)) as (one, _, told):
        await eventually(lambda: told.words and "cannot be kept" in told.words[-1])
        give(one, 0, 30)
        one.press("ring")
        await eventually(lambda: len(told.words) > 1)
        assert "make room" in told.words[-1] or "writable" in told.words[-1]
        in_the_way.unlink()
        in_the_way.mkdir()
        give(one, 30, 60)
        one.press("ring")
        await eventually(lambda: told.words[-1] == "up")
        assert len(one.clips()) == 1


async def test_without_a_directory_or_a_picture_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceMissing, match=r"clip\.directory"):
        async with recorder(None) as (one, _, _told):
            await asyncio.sleep(0)
    async with recorder(ClipShelf(tmp_path, 1000)) as (one, _, told):
        one.press("ring")
        await eventually(lambda: told.words and "no picture" in told.words[-1])


async def test_a_press_while_the_camera_is_away_keeps_nothing_old(tmp_path: Path) -> None:
    shelf = ClipShelf(tmp_path, 10_000_000)
    async with recorder(shelf) as (one, _, told):
        hour_ago = SystemClock().monotonic() - 3600
        for index in range(30):
            one.unit(replace(UNITS[index], timestamp=index * 3000, captured_at=hour_ago + index / 30))
        one.press("ring")
        await eventually(lambda: told.words and "no picture" in told.words[-1])
    assert shelf.clips() == []


async def test_pictures_that_are_encoded_in_calls_only_give_no_clip_and_it_says_why(tmp_path: Path) -> None:
    async with recorder(ClipShelf(tmp_path, 10_000_000)) as (one, video, told):
        video.set_active(False)
        one.picture(av.VideoFrame(16, 16, "yuv420p"), 0.0)
        one.press("ring")
        await eventually(lambda: told.words and "video.publish" in told.words[-1])


async def test_privacy_forgets_and_ends(tmp_path: Path) -> None:
    shelf = ClipShelf(tmp_path, 10_000_000)
    async with recorder(shelf, post_s=300.0) as (one, _, _told):
        give(one, 0, 60)
        one.press("ring")
        one.shut(True)
        give(one, 60, 90)
        await eventually(lambda: len(shelf.clips()) == 1)
        one.press("ring")
        assert not one.recording and one._ring.bytes == 0
    assert played(tmp_path / shelf.clips()[0].name)[0] == 60


async def test_a_clip_whose_pictures_change_their_size_goes_on_in_another_file(tmp_path: Path) -> None:
    shelf = ClipShelf(tmp_path, 10_000_000)
    sizes = [(160, 120), (320, 240), (160, 120), (320, 240)]
    async with recorder(shelf, post_s=300.0) as (one, _, told):
        give(one, 0, 30)
        one.press("ring")
        for count, (width_px, height_px) in enumerate(sizes, start=5):
            now = SystemClock().monotonic()
            for unit in make_units(count, width_px=width_px, height_px=height_px, gop=30):
                one.unit(replace(unit, captured_at=now))
        await eventually(lambda: len(shelf.clips()) == 3)
        assert not one.recording, "a stream that changes all the time does not push out all other clips"
        one.press("ring")
        one.shut(True)
        await eventually(lambda: len(shelf.clips()) == 4)
    assert told.words[-1] == "up"
    assert [played(tmp_path / clip.name)[0] for clip in shelf.clips()] == [30, 5, 6, 8]


async def test_a_part_without_pictures_is_no_clip(tmp_path: Path) -> None:
    shelf = ClipShelf(tmp_path, 10_000_000)
    async with recorder(shelf, post_s=0.5) as (one, _, told):
        give(one, 0, 30)
        one.press("ring")
        one._go_on_in_another(one._recording)  # type: ignore[arg-type]
        await eventually(lambda: told.words[-2:] == ["up", "up"] and not one.recording)
    assert played(tmp_path / shelf.clips()[0].name)[0] == 30


async def test_other_parameter_sets_end_a_clip_and_a_keyframe_is_asked_for(tmp_path: Path) -> None:
    demand = CountingDemand()
    shelf = ClipShelf(tmp_path, 10_000_000)
    async with recorder(shelf, post_s=300.0, demand=lambda: demand) as (one, _, _told):
        await eventually(lambda: demand.keyframes)
        give(one, 0, 30)
        one.press("ring")
        for unit in make_units(3, width_px=160, height_px=120, gop=30):
            one.unit(unit)
        await eventually(shelf.clips)
    assert played(tmp_path / shelf.clips()[0].name)[0] == 30
