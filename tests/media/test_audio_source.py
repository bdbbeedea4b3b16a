"""AudioSource, by the rows 97 to 105 of the SDK's conformance list."""

from __future__ import annotations

import asyncio

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from edge_node.dsp.pcm import Pcm
from edge_node.dsp.tone import Tone
from edge_node.media.audio_source import AudioSource
from tests.support.sound_checks import strongest_hz
from tests.support.waiting import eventually

LIMIT_S = 10.0


def seconds(duration_s: float, rate: int = 16_000, frequency_hz: float = 440.0) -> bytes:
    return Tone(frequency_hz, 0.5, rate).block(int(duration_s * rate)).tobytes()


async def frames_until_end(source: AudioSource) -> list[av.AudioFrame]:
    frames: list[av.AudioFrame] = []
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                frames.append(await source.recv())
            except MediaStreamError:
                return frames


def left(frames: list[av.AudioFrame]) -> Pcm:
    return np.concatenate([frame.to_ndarray().reshape(-1)[::2] for frame in frames]).astype(np.int16)


def test_only_mono_and_stereo_go_in() -> None:
    with pytest.raises(ValueError, match="input_layout"):
        AudioSource(input_layout="5.1")


@pytest.mark.parametrize(
    ("rate", "layout"), [(16_000, "mono"), (24_000, "mono"), (48_000, "stereo"), (44_100, "stereo")]
)
async def test_what_comes_out_is_20_ms_of_48_khz_stereo(rate: int, layout: str) -> None:
    source = AudioSource(input_rate=rate, input_layout=layout)
    mono = np.frombuffer(seconds(0.3, rate), np.int16)
    await source.push((np.repeat(mono, 2) if layout == "stereo" else mono).tobytes())
    source.end()
    frames = await frames_until_end(source)
    assert [frame.pts for frame in frames] == [960 * n for n in range(len(frames))]
    assert {(f.samples, f.sample_rate, f.layout.name, f.format.name) for f in frames} == {
        (960, 48_000, "stereo", "s16")
    }
    assert frames[0].time_base is not None and frames[0].time_base.denominator == 48_000
    assert len(frames) in (15, 16), "all of it, the last frame filled up"
    assert strongest_hz(left(frames[:15])) == pytest.approx(440, abs=5)


async def test_bytes_may_be_cut_anywhere_and_nothing_is_nothing() -> None:
    pcm = seconds(0.2)
    source, cut = AudioSource(), AudioSource()
    await source.push(pcm)
    for piece in (b"", pcm[:1], pcm[1:4], b"", pcm[4:999], pcm[999:]):
        await cut.push(piece)
    for each in (source, cut):
        each.end()
    whole, pieces = left(await frames_until_end(source)), left(await frames_until_end(cut))
    assert len(whole) == len(pieces)
    assert np.abs(whole.astype(int) - pieces).max() <= 1


async def test_frames_of_any_format_go_in_and_are_left_as_they_were() -> None:
    source = AudioSource()
    samples = np.sin(2 * np.pi * 600 * np.arange(4410) / 44_100).astype(np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = 44_100
    frame.pts = 12_345
    await source.push(frame)
    assert frame.pts == 12_345
    await source.push(seconds(0.1, frequency_hz=600))
    source.end()
    assert strongest_hz(left((await frames_until_end(source))[:10])) == pytest.approx(600, abs=10)


async def test_push_waits_at_the_cap_even_within_one_push() -> None:
    source = AudioSource(max_buffered_seconds=0.2)
    push = asyncio.ensure_future(source.push(seconds(1.0)))
    await eventually(lambda: source.buffered_seconds >= 0.2)
    await asyncio.sleep(0)
    assert not push.done()
    assert source.buffered_seconds <= 0.22
    for _ in range(5):
        await source.recv()
        assert source.buffered_seconds <= 0.22
    source.end()
    async with asyncio.timeout(LIMIT_S):
        await push
    await frames_until_end(source)


async def test_pushes_stay_in_order() -> None:
    source = AudioSource(input_rate=48_000, max_buffered_seconds=0.1)
    levels = (1000, 2000, 3000)
    pushes = [asyncio.ensure_future(source.push(np.full(9600, n, np.int16).tobytes())) for n in levels]

    async def end_after_all() -> None:
        await asyncio.gather(*pushes)
        source.end()

    ender = asyncio.ensure_future(end_after_all())
    heard = left(await frames_until_end(source))
    await ender
    assert [n for n in dict.fromkeys(heard.tolist()) if n] == list(levels)


async def test_the_end_is_played_out_then_the_track_ends() -> None:
    source = AudioSource()
    ended: list[bool] = []
    source.on("ended", lambda: ended.append(True))
    await source.push(seconds(0.05))
    source.end()
    source.end()
    assert len(await frames_until_end(source)) == 3
    assert source.readyState == "ended"
    assert ended == [True]
    await source.push(seconds(1.0))
    assert source.buffered_seconds == 0.0
    with pytest.raises(MediaStreamError):
        await source.recv()


async def test_without_sound_there_is_silence_and_the_track_lives() -> None:
    source = AudioSource()
    assert not (await source.recv()).to_ndarray().any()
    await source.push(seconds(0.1))
    assert (await source.recv()).to_ndarray().any()
    source.stop()


async def test_frames_come_at_the_pace_of_the_clock_without_a_burst_after_a_stall() -> None:
    source, loop = AudioSource(), asyncio.get_running_loop()
    await source.recv()
    source._pacer._due = loop.time() - 5.0  # as if nobody had asked for 5 s
    begin = loop.time()
    for _ in range(11):
        await source.recv()
    assert loop.time() - begin > 0.15
    source.stop()


async def test_clear_is_silence_at_once_and_ends_a_push_under_way() -> None:
    source = AudioSource(max_buffered_seconds=0.1)
    push = asyncio.ensure_future(source.push(seconds(2.0)))
    await eventually(lambda: source.buffered_seconds >= 0.1)
    source.clear()
    async with asyncio.timeout(LIMIT_S):
        await push
    assert source.buffered_seconds == 0.0
    assert not (await source.recv()).to_ndarray().any()
    await source.push(seconds(0.1))
    assert source.buffered_seconds > 0.0
    source.stop()


async def test_stop_releases_a_push() -> None:
    source = AudioSource(max_buffered_seconds=0.1)
    push = asyncio.ensure_future(source.push(seconds(2.0)))
    await eventually(lambda: source.buffered_seconds >= 0.1)
    source.stop()
    async with asyncio.timeout(LIMIT_S):
        await push


async def test_a_source_nobody_hears_may_drop_the_oldest_instead_of_waiting() -> None:
    source = AudioSource(max_buffered_seconds=0.2, unheard="drop")
    async with asyncio.timeout(LIMIT_S):
        await source.push(seconds(1.0))
    assert source.dropped_seconds == pytest.approx(0.8, abs=0.03)
    source.stop()
