"""Decoding beside the loop: bounded, whole pictures only, healing at the next keyframe."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from itertools import pairwise

import av
import pytest

from edge_node.errors import SourceLost
from edge_node.media import unit_decoder
from edge_node.media.transcode import Transcode
from edge_node.media.unit_decoder import UnitDecoder
from edge_node.ports import AccessUnit
from tests.support.foreign_clip import ForeignClip, foreign_clip
from tests.support.h264 import make_units, stamps
from tests.support.waiting import eventually

UNITS = make_units(60, gop=15)
HEVC = foreign_clip("H265")


class Shown:
    """What a decoder gave, and what it asked."""

    def __init__(self) -> None:
        self.frames: list[av.VideoFrame] = []
        self.times: list[float] = []
        self.starved = 0

    def picture(self, frame: av.VideoFrame, at_s: float) -> None:
        self.frames.append(frame)
        self.times.append(at_s)

    def ask(self) -> None:
        self.starved += 1

    @property
    def numbers(self) -> list[int]:
        return [stamp.index for stamp in stamps(self.frames) if stamp]


def offer(decoder: UnitDecoder, unit: AccessUnit, at_s: float = 0.0, duration_s: float = 0.0) -> None:
    decoder.offer(unit.data, at_s, duration_s, keyframe=unit.keyframe)


async def test_pictures_keep_their_times() -> None:
    shown = Shown()
    decoder = UnitDecoder("h264", shown.picture, on_starved=shown.ask)
    for unit in UNITS[:20]:
        offer(decoder, unit, unit.captured_at)
    await eventually(lambda: decoder.decoded == 20)
    decoder.close()
    assert shown.numbers == list(range(20)) and shown.times == [unit.captured_at for unit in UNITS[:20]]
    assert (shown.starved, decoder.failures, decoder.dropped) == (0, 0, 0)


async def test_reordered_pictures_get_the_times_of_showing() -> None:
    shown = Shown()
    decoder = UnitDecoder("hevc", shown.picture, reorders=True)
    for number, data in enumerate(HEVC.pictures):
        decoder.offer(data, HEVC.order[number] / 30, 0.0, keyframe=number in (0, 15))
    await eventually(lambda: decoder.decoded >= 20)
    decoder.close()
    assert shown.times == sorted(shown.times)
    assert [round(at_s * 30) for at_s in shown.times] == shown.numbers


async def test_after_rubbish_it_goes_on_with_the_next_keyframe() -> None:
    shown = Shown()
    decoder = UnitDecoder("h264", shown.picture, on_starved=shown.ask)
    for unit in UNITS[:5]:
        offer(decoder, unit)
    decoder.offer(b"\0\0\0\1\x65" + bytes(range(200)), 0.0, 0.0, keyframe=True)
    await eventually(lambda: decoder.failures == 1)
    await eventually(lambda: shown.starved == 1)
    for unit in UNITS[5:40]:
        offer(decoder, unit)
    await eventually(lambda: decoder.decoded == 30)
    decoder.close()
    assert shown.numbers == [*range(5), *range(15, 40)]  # 5 to 14 belong to what was broken


async def test_a_slow_taker_costs_pictures_and_never_memory() -> None:
    shown, gate = Shown(), threading.Event()

    def slow(frame: av.VideoFrame, at_s: float) -> None:
        gate.wait(20)
        shown.picture(frame, at_s)

    decoder = UnitDecoder("h264", slow, on_starved=shown.ask)
    for unit in UNITS[:59]:
        offer(decoder, unit, duration_s=0.1)
    assert len(decoder._queue) <= 6 and shown.starved and decoder.dropped
    gate.set()
    await eventually(lambda: not decoder._queue)
    decoder.close()
    numbers = shown.numbers
    assert all(b == a + 1 or b % 15 == 0 for a, b in pairwise(numbers))


async def test_absurd_sizes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_decoder, "MAX_PIXELS", 320 * 239)
    shown = Shown()
    decoder = UnitDecoder("h264", shown.picture, on_starved=shown.ask)
    offer(decoder, UNITS[0])
    await eventually(lambda: shown.starved == 1)
    decoder.close()
    assert not shown.frames and decoder.failures == 1


# Only while somebody watches


def unit_of(clip: ForeignClip, number: int) -> AccessUnit:
    tick = clip.order[number % 30] * 3000 + number // 30 * 90_000
    return AccessUnit(clip.pictures[number % 30], number % 15 == 0, tick, number / 30, "hevc")


async def test_unwatched_one_picture_is_decoded_and_the_rest_remembered() -> None:
    shown = Shown()
    transcode = Transcode(shown.picture, lambda codec, width, height: None, time.monotonic)
    for number in range(5):
        transcode.unit(unit_of(HEVC, number))
    await eventually(lambda: transcode._decoder is None)
    count = len(shown.frames)
    for number in range(5, 10):
        transcode.unit(unit_of(HEVC, number))
    assert (len(shown.frames), transcode.decoders_opened) == (count, 1)
    transcode.want(True)
    transcode.want(True)
    await eventually(lambda: len(shown.frames) >= count + 5)  # the group of pictures, at once
    transcode.want(False)
    assert transcode._decoder is None and transcode.decoders_opened == 2
    transcode.close()


async def test_a_size_that_grows_in_the_middle_is_judged_again() -> None:
    large = foreign_clip("H265", 15, 480, 320)
    transcode = Transcode(
        Shown().picture, lambda codec, width, height: "too large" if width > 320 else None, time.monotonic
    )
    transcode.want(True)
    for number in range(5):
        transcode.unit(unit_of(HEVC, number))
    await eventually(lambda: transcode._judged == (320, 240))
    with pytest.raises(SourceLost, match="too large"):
        for number in range(15):
            transcode.unit(replace(unit_of(HEVC, number), data=large.pictures[number], captured_at=1 + number / 30))
            await eventually(lambda: not transcode._decoder or not transcode._decoder._queue)
    for number in range(15, 25):  # the camera was set back
        transcode.unit(replace(unit_of(HEVC, number), captured_at=2 + number / 30))
    await eventually(lambda: transcode._judged == (320, 240))
    transcode.close()
    transcode.close()


async def test_another_codec_begins_anew() -> None:
    shown = Shown()
    transcode = Transcode(shown.picture, lambda codec, width, height: None, time.monotonic)
    transcode.want(True)
    for number in range(10):
        transcode.unit(unit_of(HEVC, number))
    for number, unit in enumerate(UNITS[:10]):
        transcode.unit(replace(unit, decode_as="h264", captured_at=2 + number / 30))
    await eventually(lambda: len(shown.numbers) >= 10 and transcode.decoders_opened == 2)
    transcode.close()


def test_a_clock_that_jumps_is_anchored_anew() -> None:
    transcode = Transcode(Shown().picture, lambda codec, width, height: None, time.monotonic)
    unit = AccessUnit(b"", False, 0, 100.0, "hevc")
    assert transcode._steady(unit) == 100.0
    assert transcode._steady(replace(unit, timestamp=9000, captured_at=100.3)) == pytest.approx(100.1)
    assert transcode._steady(replace(unit, timestamp=900_000_000, captured_at=101.0)) == pytest.approx(101.0)
