"""Rows 123 to 149: tracks that speak, with a background, with listeners."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from edge_node.media import (
    CustomAudioStreamTrack,
    MixingCustomAudioStreamTrack,
    TeeCustomAudioStreamTrack,
    TeeMixingCustomAudioStreamTrack,
)
from edge_node.media.voice.sinks import MAX_CHUNKS
from tests.support.hub_client import running_hub
from tests.support.peers import Watcher, hears, peer_of
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import eventually

CHUNK = 960
ALL = pytest.mark.parametrize(
    "make",
    [
        CustomAudioStreamTrack,
        MixingCustomAudioStreamTrack,
        TeeCustomAudioStreamTrack,
        TeeMixingCustomAudioStreamTrack,
    ],
)
MIXING = pytest.mark.parametrize("make", [MixingCustomAudioStreamTrack, TeeMixingCustomAudioStreamTrack])
TEE = pytest.mark.parametrize("make", [TeeCustomAudioStreamTrack, TeeMixingCustomAudioStreamTrack])


def speech(value: int, chunks: float = 1.0) -> bytes:
    return np.full(int(480 * chunks), value, "<i2").tobytes()


def value_of(frame: av.AudioFrame) -> int:
    samples = frame.to_ndarray()
    assert samples.shape == (1, 480)
    return int(samples[0, 0])


async def played(track: CustomAudioStreamTrack, frames: int) -> list[int]:
    return [value_of(await track.recv()) for _ in range(frames)]


class Calls:
    """Counts calls of an async callback."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1


@ALL
@in_virtual_time
async def test_row_123_bytes_of_any_size_leave_in_whole_chunks(make: Any) -> None:
    track = make(asyncio.get_running_loop())
    assert (track.sample_rate, track.samples, track.chunk_size) == (24_000, 480, CHUNK)
    said = np.arange(1, 1201, dtype="<i2").tobytes()
    for start in range(0, len(said), 7):
        await track.add_new_bytes(said[start : start + 7])
    heard = np.concatenate([(await track.recv()).to_ndarray()[0] for _ in range(3)])
    assert heard[:960].tolist() == list(range(1, 961)), "whole chunks"
    assert not heard[960:].any(), "the remainder waits"
    await track.add_new_bytes(speech(7, 0.5))
    assert (await track.recv()).to_ndarray()[0, :241].tolist() == [*range(961, 1201), 7]


async def test_row_123_a_peer_hears_what_is_said() -> None:
    async with running_hub() as hub:
        speaker, listener = peer_of(hub, "speaker"), peer_of(hub, "listener")
        watcher, track = Watcher(listener), CustomAudioStreamTrack()
        speaker.add_track(track)
        await speaker.join("room")
        await listener.join("room")
        n = np.arange(24_000 * 20)
        await track.add_new_bytes((8000 * np.sin(2 * np.pi * 600 * n / 24_000)).astype("<i2").tobytes())
        await hears(await watcher.track("audio"), 600)
        await speaker.close()
        await listener.close()


@ALL
@in_virtual_time
async def test_row_124_accepted_speech_is_announced(make: Any) -> None:
    track = make()
    out: list[bytes] = []
    track.on_speech_out(out.append)
    await track.add_new_bytes(b"ab")
    await track.add_new_bytes(b"")
    track.enable_audio_input(manual_control=True)
    track.interrupt()
    await track.add_new_bytes(b"cd")
    assert out == [b"ab"]


@ALL
@in_virtual_time
async def test_row_125_frames_come_at_the_pace_of_the_clock_with_growing_timestamps(make: Any) -> None:
    track, loop = make(), asyncio.get_running_loop()
    await track.add_new_bytes(speech(5, 2))
    start, frames = loop.time(), []
    for number in range(10):
        if number == 4:
            await track.pause()
        frames.append(await track.recv())
    assert loop.time() - start == pytest.approx(0.2)
    assert [frame.pts for frame in frames] == [480 * n for n in range(10)]
    assert {(frame.sample_rate, frame.time_base.denominator, frame.format.name) for frame in frames} == {
        (24_000, 24_000, "s16")
    }


@ALL
@in_virtual_time
async def test_row_126_an_empty_buffer_is_silence(make: Any) -> None:
    assert await played(make(), 3) == [0, 0, 0]


@ALL
@in_virtual_time
async def test_row_127_the_first_silence_after_speech_calls_back_once(make: Any) -> None:
    track, calls = make(), Calls()
    track.on_last_audio_byte(calls)
    await track.add_new_bytes(speech(5))
    assert not track.is_speaking
    assert await played(track, 1) == [5]
    assert track.is_speaking and calls.count == 0
    await played(track, 5)
    await asyncio.sleep(0)
    assert not track.is_speaking and calls.count == 1


@ALL
@in_virtual_time
async def test_row_127_with_marks_a_starved_producer_is_not_finished(make: Any) -> None:
    track, calls = make(), Calls()
    track.on_last_audio_byte(calls)
    for _ in range(2):
        await track.add_new_bytes(speech(5, 1))
        track.end_utterance()
        await played(track, 1)
        await track.add_new_bytes(speech(6, 1.5))
        await played(track, 4)
        await asyncio.sleep(0)
        before = calls.count
        track.end_utterance()
        track.end_utterance()
        assert (await played(track, 1))[0] == 6, "the last partial chunk is played"
        await played(track, 3)
        await asyncio.sleep(0)
        assert calls.count == before + 1
    assert calls.count == 4


@ALL
@in_virtual_time
async def test_row_127_the_callback_is_scheduled_and_its_error_is_its_own(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    track, entered = make(), []

    async def slow() -> None:
        entered.append("slow")
        await asyncio.sleep(1000)

    def broken() -> None:
        raise ValueError("mine")

    for callback in (slow, broken, lambda: entered.append("plain")):
        track.on_last_audio_byte(callback)
        await track.add_new_bytes(speech(5))
        assert await played(track, 3) == [5, 0, 0]
    await asyncio.sleep(0)
    assert entered == ["slow", "plain"]
    assert "mine" in caplog.text


@ALL
def test_row_128_it_can_pause(make: Any) -> None:
    async def made() -> bool:
        return bool(make().can_pause)

    assert asyncio.run(made()) is True


@ALL
@in_virtual_time
async def test_row_129_130_131_pause_keeps_what_waits_and_what_comes(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    track = make()
    with caplog.at_level(logging.WARNING):
        await track.add_new_bytes(speech(1) + speech(2))
        assert await played(track, 1) == [1]
        await track.pause()
        assert track.is_paused and not caplog.records
        await track.pause()
        assert len(caplog.records) == 1
        await track.add_new_bytes(speech(3))
        assert await played(track, 3) == [0, 0, 0]
        await track.resume()
        assert await played(track, 3) == [2, 3, 0]
        await track.resume()
        assert len(caplog.records) == 2


@ALL
@in_virtual_time
async def test_row_132_interrupt_forgets_everything_and_nothing_calls_back(make: Any) -> None:
    track, calls = make(), Calls()
    track.on_last_audio_byte(calls)
    await track.add_new_bytes(speech(1, 3.5))
    track.end_utterance()
    await played(track, 1)
    await track.pause()
    await track.add_new_bytes(speech(2))
    track.interrupt()
    assert not track.is_paused and track.buffered_s == 0
    assert await played(track, 3) == [0, 0, 0]
    await asyncio.sleep(0)
    assert calls.count == 0
    await track.add_new_bytes(speech(3))
    assert await played(track, 1) == [3], "no half sample of before is left"


@ALL
@in_virtual_time
async def test_row_133_134_135_after_an_interrupt_manual_control_waits_for_the_program(make: Any) -> None:
    track = make()
    track.interrupt()
    await track.add_new_bytes(speech(1))
    assert await played(track, 1) == [1], "intake stays on"
    track.enable_audio_input(manual_control=True)
    await track.add_new_bytes(speech(2))
    track.interrupt()
    await track.add_new_bytes(speech(3))
    track.end_utterance()
    assert await played(track, 2) == [0, 0], "dropped while the intake is off"
    track.enable_audio_input()
    await track.add_new_bytes(speech(4))
    track.interrupt()
    await track.add_new_bytes(speech(5))
    assert await played(track, 1) == [5], "without manual control again"


@ALL
@in_virtual_time
async def test_row_136_137_a_stopped_track_says_so(make: Any) -> None:
    track = make()
    waiting = asyncio.ensure_future(track.recv())
    await asyncio.sleep(0)
    await track.add_new_bytes(speech(1))
    await track.cleanup()
    with pytest.raises(MediaStreamError):
        await waiting
    with pytest.raises(MediaStreamError):
        await track.recv()
    await track.add_new_bytes(speech(1))
    assert (track.readyState, track.buffered_s) == ("ended", 0)


@ALL
@in_virtual_time
async def test_row_138_no_frame_is_built_before_its_time_and_the_buffer_is_bounded(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    track = make(max_buffered_s=1.0)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await track.add_new_bytes(speech(1, 40))
    assert track.buffered_s == 1.0
    assert track.dropped_bytes == 70 * CHUNK
    assert len(caplog.records) == 1
    track.interrupt()
    assert await played(track, 1) == [0]


@MIXING
@in_virtual_time
async def test_row_139_140_speech_and_background_are_added(make: Any) -> None:
    track = make()
    await track.add_background_bytes(speech(10))
    assert await played(track, 2) == [10, 0], "background alone, then nothing"
    await track.add_new_bytes(speech(5, 2))
    await track.add_background_bytes(speech(10, 1))
    assert await played(track, 3) == [15, 5, 0], "both, speech alone, nothing"


@MIXING
@in_virtual_time
async def test_row_141_142_the_sum_is_as_long_as_the_speech_and_saturates(make: Any) -> None:
    track = make()
    mixed = np.frombuffer(track.mix_audio(speech(5), speech(10, 0.5)), "<i2")
    assert mixed.tolist() == [15] * 240 + [5] * 240
    assert len(track.mix_audio(speech(5), speech(10, 3))) == CHUNK
    assert track.mix_audio(speech(5), b"") == speech(5)
    await track.add_new_bytes(speech(30_000) + speech(-30_000))
    await track.add_background_bytes(speech(30_000) + speech(-30_000))
    assert await played(track, 2) == [32_767, -32_768]


@MIXING
@in_virtual_time
async def test_row_143_144_pause_interrupt_and_intake_hold_for_the_mix_too(make: Any) -> None:
    track = make()
    await track.add_background_bytes(speech(10, 3))
    await track.add_new_bytes(speech(5, 3))
    await track.pause()
    assert await played(track, 2) == [0, 0]
    await track.resume()
    assert await played(track, 1) == [15]
    track.interrupt()
    assert await played(track, 2) == [0, 0]
    track.enable_audio_input(manual_control=True)
    track.interrupt()
    await track.add_new_bytes(speech(5))
    assert await played(track, 1) == [0]
    track.stop()
    await track.add_background_bytes(speech(1))
    assert track.dropped_bytes == 0


class Avatar:
    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def handle_audio_input(self, data: bytes) -> None:
        self.heard.append(data)


@TEE
async def test_row_145_sinks_come_and_go(make: Any) -> None:
    avatar, other = Avatar(), Avatar()
    track = make(None, [avatar], pipeline="kept")
    track.add_sink(avatar)
    track.add_sink(other)
    assert track.sinks == [avatar, other] and track.pipeline == "kept"
    track.remove_sink(other)
    track.remove_sink(other)
    track.sinks.clear()
    assert track.sinks == [avatar]
    with pytest.raises(TypeError, match="handle_audio_input"):
        track.add_sink(3)
    await track.cleanup()
    assert track.sinks == []
    track.add_sink(other)
    assert track.sinks == []


@TEE
async def test_row_146_sinks_of_every_kind_get_what_is_played_when_it_is(make: Any) -> None:
    avatar = Avatar()
    plain: list[bytes] = []
    coroutine: list[bytes] = []

    async def listen(data: bytes) -> None:
        coroutine.append(data)

    track = make(None, [avatar, plain.append, listen])
    await track.add_new_bytes(speech(1, 2.5))
    await asyncio.sleep(0)
    assert not avatar.heard and not plain, "not before it is played"
    assert await played(track, 3) == [1, 1, 0]
    if isinstance(track, MixingCustomAudioStreamTrack):
        await track.add_background_bytes(speech(9))
        await played(track, 1)
    await eventually(lambda: avatar.heard == plain == coroutine == [speech(1)] * 2)
    await track.cleanup()


@TEE
async def test_row_146_a_callable_may_give_back_what_is_to_be_awaited(make: Any) -> None:
    heard: list[bytes] = []
    loop = asyncio.get_running_loop()

    async def send(data: bytes) -> None:
        assert asyncio.get_running_loop() is loop
        heard.append(data)

    track = make(None, [lambda data: send(data)])
    await track.add_new_bytes(speech(1, 2))
    assert await played(track, 2) == [1, 1]
    await eventually(lambda: heard == [speech(1)] * 2)
    assert track.sink_errors == 0
    await track.cleanup()


@TEE
async def test_row_147_a_sink_that_never_answers_is_let_go_of(make: Any) -> None:
    asked = asyncio.Event()
    ended: list[str] = []

    async def hangs(data: bytes) -> None:
        asked.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("let go")

    track = make(None, [lambda data: hangs(data)])
    await track.add_new_bytes(speech(1, 1))
    assert await played(track, 1) == [1]
    await asked.wait()
    await track.cleanup()
    await eventually(lambda: ended and not any(t.name == "voice-sink" for t in threading.enumerate()))


@TEE
async def test_row_147_a_sink_whose_own_work_was_cancelled_gets_the_next_chunk(make: Any) -> None:
    heard: list[bytes] = []

    async def waits_for_something_cancelled(data: bytes) -> None:
        heard.append(data)
        raise asyncio.CancelledError

    track = make(None, [waits_for_something_cancelled])
    await track.add_new_bytes(speech(1, 2))
    assert await played(track, 2) == [1, 1]
    await eventually(lambda: len(heard) == track.sink_errors == 2)
    await track.cleanup()


@TEE
async def test_row_147_failing_slow_and_hanging_sinks_hold_nobody_up(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    good: list[bytes] = []

    async def hangs(data: bytes) -> None:
        await asyncio.Event().wait()

    async def fails(data: bytes) -> None:
        raise ValueError("async sink")

    def fails_too(data: bytes) -> None:
        raise ValueError("plain sink")

    def stuck(data: bytes) -> None:
        release.wait(20)

    track = make(None, [hangs, fails, fails_too, stuck, good.append])
    frames = MAX_CHUNKS + 10
    await track.add_new_bytes(speech(1, frames))
    track._pacer.wait_s = lambda now: 0.0  # a test need not wait for the clock
    try:
        for number in range(frames):
            assert await played(track, 1) == [1]
            await eventually(lambda number=number: len(good) == number + 1)  # type: ignore[misc]
        await eventually(lambda: track.sink_errors == 2 * frames)
        assert track.sink_drops >= 2 * (frames - MAX_CHUNKS - 2)
    finally:
        release.set()
        await track.cleanup()
    texts = [record.getMessage() for record in caplog.records]
    assert sum("too slow" in text for text in texts) == 2
    assert sum("failed on sound" in text for text in texts) == 2


@TEE
@in_virtual_time
async def test_row_148_what_an_agent_says_never_reaches_its_pipeline(make: Any) -> None:
    class Pipeline:
        def __getattr__(self, name: str) -> Any:
            raise AssertionError(f"the pipeline was touched: {name}")

    track = make(None, None, Pipeline())
    await track.add_new_bytes(speech(1))
    track.end_utterance()
    assert await played(track, 2) == [1, 0]


@ALL
@in_virtual_time
async def test_row_149_after_a_stall_the_pace_is_taken_up_again_without_a_burst(make: Any) -> None:
    track, loop = make(), asyncio.get_running_loop()
    await played(track, 3)
    await asyncio.sleep(5)
    times = []
    for _ in range(5):
        await track.recv()
        times.append(loop.time())
    assert np.diff(times).tolist() == pytest.approx([0.02] * 4)
