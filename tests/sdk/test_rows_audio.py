"""Rows 150 to 152, 157 and 158: microphone and speaker of this machine, for programs."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import threading
from typing import Any

import numpy as np
import pytest

from edge_node.dsp.level import dbfs
from edge_node.dsp.pcm import RATE, Pcm
from edge_node.dsp.tone import Tone
from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media import DuplexAudio, Microphone, Speaker
from edge_node.media import duplex as module
from edge_node.media.sound_queues import AWAY_S, MAX_FED_S, Chunks, Fed
from tests.support.clock import ManualClock
from tests.support.pulse import PulseLab
from tests.support.sound_checks import strongest_hz
from tests.support.waiting import eventually

LOST_AND_FOUND_ROUNDS = int(os.environ.get("EDGE_NODE_SOUND_ROUNDS", "2"))
HEAL_S = 30.0


def fake(behaviour: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.support.sound_worker_fake", behaviour)


def pcm(chunks: list[bytes]) -> Pcm:
    return np.frombuffer(b"".join(chunks), "<i2").astype(np.int16)


def defaults(kind: type) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}


def test_row_150_151_152_the_signatures() -> None:
    assert defaults(Microphone) == {"sample_rate": 24_000, "chunk_ms": 50, "device": None, "queue_maxsize": 100}
    assert defaults(Speaker) == {"sample_rate": 24_000, "device": None, "playback_tap": None}
    assert defaults(DuplexAudio) == {
        "sample_rate": 48_000, "chunk_ms": 20, "device": None, "mono_io": True, "queue_maxsize": 100,
        "playback_tap": None,
    }  # fmt: skip
    with pytest.raises(ValueError, match="mono"):
        DuplexAudio(mono_io=False)


@pytest.mark.pulse
async def test_row_150_a_microphone_is_iterated_over(lab: PulseLab) -> None:
    lab.play_into_mic(Tone(700, 0.3).block(60 * RATE))
    chunks: list[bytes] = []
    async with Microphone(device="mic") as mic:
        async for chunk in mic:
            chunks.append(chunk)
            if len(chunks) >= 40 and dbfs(pcm(chunks[-20:])) > -15:
                break
    assert {len(chunk) for chunk in chunks} == {2 * 24_000 * 50 // 1000}
    steady = pcm(chunks[-10:])
    spectrum = np.abs(np.fft.rfft(steady * np.hanning(len(steady))))
    assert np.argmax(spectrum) * 24_000 / len(steady) == pytest.approx(700, abs=5)
    rest = [chunk async for chunk in mic]
    assert len(rest) <= 100, "what is left, then the end"


async def test_row_150_the_oldest_are_dropped_and_counted() -> None:
    chunks = Chunks(48_000, 10, 3)
    chunks.opens()
    for value in range(5):
        chunks.put(np.full(480, value, np.int16))
    assert chunks.dropped == 2
    assert [pcm([await chunks.__anext__()])[0] for _ in range(3)] == [2, 3, 4]
    waiting = asyncio.ensure_future(chunks.__anext__())
    await asyncio.sleep(0)
    chunks.put(np.full(480, 9, np.int16))
    assert pcm([await waiting])[0] == 9
    chunks.close()
    with pytest.raises(StopAsyncIteration):
        await chunks.__anext__()
    chunks.put(np.zeros(480, np.int16))
    assert chunks.dropped == 2, "a thread that ends late disturbs nobody"


async def test_row_150_a_device_that_is_not_there_is_said_at_once() -> None:
    with pytest.raises(DeviceMissing, match='there is "other"'):
        await Microphone(worker=fake("missing")).__aenter__()


@pytest.mark.parametrize("make", [Microphone, Speaker, DuplexAudio])
async def test_row_150_151_152_a_machine_without_processes_is_said_at_once(make: Any) -> None:
    async with asyncio.timeout(HEAL_S):
        with pytest.raises(DeviceLost, match="cannot be started: No such file"):
            await make(worker=("/does/not/exist",)).__aenter__()


async def test_row_152_who_fails_to_open_leaves_nothing_behind() -> None:
    """The microphone is missing while the speaker is still being opened."""
    before = asyncio.all_tasks()
    with pytest.raises(DeviceMissing, match='there is "other"'):
        await DuplexAudio(worker=fake("no-microphone")).__aenter__()
    await eventually(lambda: asyncio.all_tasks() == before)


@pytest.mark.parametrize("err", [DeviceLost("it is gone"), OSError("too many open files")])
async def test_row_150_whatever_ends_a_device_it_is_found_again_and_said_once_each_time(
    err: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    kept, runs = module._Kept(), 0

    async def run(up: Any) -> None:
        nonlocal runs
        runs += 1
        if runs in (1, 6):
            up()
            await asyncio.sleep(0.01)
        raise err

    await kept.start(run)
    await eventually(lambda: runs > 10)
    await kept.close()
    assert [record.getMessage() for record in caplog.records] == [str(err)] * 2, "lost twice"


@pytest.mark.parametrize("wrong", [{"sample_rate": 0}, {"sample_rate": -8000}, {"chunk_ms": 0}, {"queue_maxsize": 0}])
def test_row_150_152_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    for make in (Microphone, DuplexAudio):
        with pytest.raises(ValueError, match="not"):
            make(**wrong)
    with pytest.raises(ValueError, match="sample_rate is 8000 to 192000 Hz, not 7"):
        Speaker(7)


@pytest.mark.pulse
async def test_row_150_a_lost_device_is_found_again(lab: PulseLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """EDGE_NODE_SOUND_ROUNDS=200 makes it 200 rounds."""
    monkeypatch.setattr(module, "RETRY_S", 0.2)
    async with DuplexAudio(device=("mic", "speaker")) as audio:
        before = threading.active_count()
        for _ in range(LOST_AND_FOUND_ROUNDS):
            lab.kill()
            await eventually(lambda: not audio.together, HEAL_S)
            await asyncio.to_thread(lab.start)
            await eventually(lambda: audio.together, HEAL_S)
            while True:
                async with asyncio.timeout(HEAL_S):
                    await anext(audio.mic_chunks())
                    break
        assert threading.active_count() <= before + 1


@pytest.mark.pulse
async def test_row_151_what_is_fed_is_heard_until_stop(lab: PulseLab) -> None:
    tapped: list[bytes] = []
    async with Speaker(48_000, "speaker", tapped.append) as speaker:
        await speaker.feed(Tone(900, 0.3).block(30 * RATE).tobytes())
        await eventually(lambda: len(tapped) > 30)
        while True:  # a busy machine opens the card late; 30 s were fed
            heard = await asyncio.to_thread(lab.record_speaker, 0.6)
            if heard[RATE // 5 :].any():
                break
        assert strongest_hz(heard[RATE // 5 :]) == pytest.approx(900, abs=5)
        speaker.stop()
        assert speaker.buffered_seconds == 0.0
        known = len(tapped)
        await eventually(lambda: len(tapped) > known + 20)
        assert not any(pcm(tapped[known + 12 :])), "at most the blocks under way to the card follow"
        heard = await asyncio.to_thread(lab.record_speaker, 0.3)
        assert not heard[RATE // 5 :].any(), "the tap and the device agree: silence"


async def test_row_151_152_the_tap_gets_exactly_what_the_device_plays() -> None:
    """The fake card hears what it played one callback ago: the tap must have said so before."""
    sound = Tone(500, 0.5).block(RATE)
    for behaviour in ("loop", "late"):
        tapped: list[bytes] = []
        async with DuplexAudio(chunk_ms=10, playback_tap=tapped.append, worker=fake(behaviour)) as audio:
            audio.feed_speaker(sound.tobytes())
            heard = [await anext(audio.mic_chunks()) for _ in range(80)]
            await eventually(lambda: len(tapped) >= 80)  # noqa: B023
            assert audio.together
            assert audio.mic.dropped == 0
        assert any(pcm(heard))
        assert b"".join(heard)[960:] == b"".join(tapped)[: 79 * 960]


async def test_row_151_a_tap_that_raises_does_not_end_the_sound() -> None:
    async with DuplexAudio(playback_tap=lambda data: 1 / 0, worker=fake("loop")) as audio:
        for _ in range(20):
            assert await anext(audio.mic_chunks())


def test_row_151_more_than_a_minute_loses_its_oldest_part() -> None:
    fed = Fed(48_000)
    fed.feed(np.full(RATE, 1, np.int16).tobytes())
    for _ in range(int(MAX_FED_S)):
        fed.feed(np.full(RATE, 2, np.int16).tobytes())
    assert fed.dropped_seconds == 1.0
    assert fed.buffered_seconds == MAX_FED_S
    assert set(fed.pull(480)) == {2}


def test_row_151_what_is_said_while_the_device_is_away_is_not_heard_late() -> None:
    """Ten seconds without the device, somebody talks all the time, from the ninth second on another one."""
    clock = ManualClock(5.0)
    fed = Fed(48_000, clock.monotonic)
    fed.feed(np.full(RATE, 1, np.int16).tobytes())
    clock.advance(60.0)
    assert set(fed.pull(480)) == {1}, "what is fed before the device is open waits for it"
    for second in range(10):
        clock.advance(1.0)
        fed.feed(np.full(RATE, 2 if second < 8 else 3, np.int16).tobytes())
    clock.advance(0.5)
    assert set(fed.pull(480)) == {3}
    assert fed.buffered_seconds == pytest.approx(0.49, abs=0.001)
    assert fed.dropped_seconds == pytest.approx(10.49, abs=0.001)
    fed.close()
    fed.feed(np.full(RATE, 4, np.int16).tobytes())
    clock.advance(60.0)
    assert set(fed.pull(480)) == {4}, "closed and opened again"


def test_row_151_short_interruptions_do_not_add_up_to_a_delay() -> None:
    """Somebody talks live; a busy machine holds the card up for 0.15 s, twenty times."""
    clock = ManualClock()
    fed = Fed(48_000, clock.monotonic)
    block = np.full(480, 1, np.int16).tobytes()
    for step in range(2000):
        clock.advance(0.01)
        fed.feed(block)
        if step % 100 >= 15:
            fed.pull(480)
    assert fed.buffered_seconds <= AWAY_S + 0.15
    assert fed.dropped_seconds == pytest.approx(20 * 0.15 - fed.buffered_seconds, abs=0.1)


def test_row_151_an_unsteady_card_loses_nothing_of_a_long_answer() -> None:
    clock = ManualClock()
    fed = Fed(48_000, clock.monotonic)
    fed.feed(bytes(2 * 48_000 * 20))
    for _ in range(400):  # blocks come in lumps of five
        clock.advance(0.05)
        for _ in range(5):
            fed.pull(480)
    assert fed.buffered_seconds == fed.dropped_seconds == 0.0
    clock.advance(3600.0 * 3e-4)
    fed.pull(480)
    fed.feed(block := bytes(960))
    assert fed.pull(480).tobytes() == block and not fed.dropped_seconds, "an hour of silence by a slow clock"


@pytest.mark.pulse
async def test_row_152_one_stream_one_clock(lab: PulseLab) -> None:
    async with DuplexAudio(device=("mic", "speaker")) as audio:
        await eventually(lambda: audio.together)
        counted = 0
        async for chunk in audio.mic_chunks():
            assert len(chunk) == 2 * 960
            counted += 1
            if counted == 20:
                break
        assert audio.echo == "off"
    names = {"sound card", "microphone", "speaker"}
    await eventually(lambda: not names & {thread.name for thread in threading.enumerate()})


async def test_row_152_devices_that_refuse_get_a_stream_each() -> None:
    async with DuplexAudio(worker=fake("apart")) as audio:
        assert await anext(audio.mic_chunks())
        assert not audio.together


async def test_row_152_views_for_programs_that_want_a_microphone_and_a_speaker() -> None:
    async with DuplexAudio(24_000, worker=fake("loop")) as audio, audio.mic as mic, audio.speaker as speaker:
        await speaker.feed(bytes(960))
        assert len(await anext(aiter(mic))) == len(await anext(mic)) == 2 * 480
        speaker.feed(bytes(48_000))
        assert speaker.buffered_seconds > 0
        audio.stop()
        assert speaker.buffered_seconds == speaker.dropped_seconds == 0.0
        assert audio.xruns >= 0
        assert audio.echo_return_loss_db is None


async def test_row_157_feed_with_and_without_await() -> None:
    async with Speaker(worker=fake("loop")) as speaker:
        speaker.feed(bytes(9600))
        assert await speaker.feed(b"") is None  # type: ignore[func-returns-value]
        assert speaker.xruns >= 0


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 24_000, 44_100, 48_000])
async def test_row_158_the_programs_rate_is_not_the_devices(rate: int) -> None:
    """A tone fed at one rate comes back from the (48 kHz) card at the same rate with the same pitch and loudness."""
    tone = Tone(1000, 0.5, rate).block(rate // 2)
    async with DuplexAudio(rate, 20, worker=fake("loop")) as audio:
        audio.feed_speaker(tone.tobytes())
        heard = pcm([await anext(audio.mic_chunks()) for _ in range(30)])
    loud = heard[np.argmax(np.abs(heard) > 8000) :][: rate // 4]
    spectrum = np.abs(np.fft.rfft(loud * np.hanning(len(loud))))
    assert np.argmax(spectrum) * rate / len(loud) == pytest.approx(1000, abs=5)
    assert dbfs(loud) == pytest.approx(-9.0, abs=0.5)


def test_row_158_bytes_may_be_cut_anywhere() -> None:
    sound = Tone(300, 0.5, 24_000).block(2400).tobytes()
    whole, cut = Fed(24_000), Fed(24_000)
    whole.feed(sound)
    for at in range(0, len(sound), 77):
        cut.feed(sound[at : at + 77])
    assert abs(cut.buffered_seconds - whole.buffered_seconds) < 1e-9
    assert cut.pull(4000).tolist() == whole.pull(4000).tolist()
