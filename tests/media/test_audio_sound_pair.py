"""Microphone and speaker together where they can, apart where they must, and whatever one of them does."""

from __future__ import annotations

import asyncio
import ctypes.util
import subprocess
import sys
import threading
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from edge_node.dsp.level import dbfs
from edge_node.dsp.pcm import FULL_SCALE, Pcm, silence
from edge_node.dsp.tone import Tone
from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media import duplex, sound_pair, sound_queues, sound_stream
from edge_node.media.duplex import DuplexAudio, Speaker
from edge_node.media.echo import control as control_module
from edge_node.media.echo.control import EchoControl, Mode
from edge_node.media.echo.speexdsp import SpeexCanceller
from edge_node.media.sound_pair import SoundPair
from tests.support.pulse import PulseLab
from tests.support.room import blocks, power_db, samples, speech
from tests.support.sound_checks import running, strongest_hz
from tests.support.waiting import eventually

REDUCED_S = 120.0
"""Of wall time: a loaded machine loses sound, and a canceller learns anew."""


def fake(behaviour: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.support.sound_worker_fake", behaviour)


def listeners(lab: PulseLab) -> int:
    """How many programs hold the microphone open, as the sound daemon sees it."""
    listed = subprocess.run(
        ["pactl", "list", "short", "source-outputs"], env=lab.env, capture_output=True, timeout=10, check=True
    )
    return len(listed.stdout.splitlines())


async def test_pairs_are_exact_even_when_this_process_is_late() -> None:
    """The fake card hears what it played one callback ago, silence where it got nothing in time."""
    pairs: list[tuple[Pcm, Pcm]] = []

    class Watch(EchoControl):
        def together(self, captured: Pcm, played: Pcm) -> Pcm:
            pairs.append((captured, played))
            return captured

    counted = iter(range(1, 100_000))
    pair = SoundPair(echo=Watch("off"), worker=fake("late"))
    async with (
        running(pair.speaker.run(lambda frames: np.full(frames, next(counted) % 30_000, np.int16))),
        running(pair.microphone.run(lambda pcm: None)),
    ):
        await eventually(lambda: len(pairs) >= 200)
        assert pair.together
        assert pair.speaker.xruns >= 15
    known = pairs[:200]
    for (_, played), (heard, _) in pairwise(known):
        assert np.array_equal(heard, played)
    assert sum(not played.any() for _, played in known) == 20


async def test_a_card_of_another_rate_is_converted_both_ways_in_step() -> None:
    pairs: list[tuple[Pcm, Pcm]] = []

    class Watch(EchoControl):
        def together(self, captured: Pcm, played: Pcm) -> Pcm:
            pairs.append((captured, played))
            return captured

    tone = Tone(1000, 0.5)
    pair = SoundPair(echo=Watch("off"), worker=fake("loop-44100"))
    async with running(pair.speaker.run(tone.block)), running(pair.microphone.run(lambda pcm: None)):
        await eventually(lambda: len(pairs) >= 120)
    known = pairs[:120]
    for (_, played), (heard, _) in pairwise(known):
        assert np.array_equal(heard, played), "one block later, to the sample"
    steady = np.concatenate([played for _, played in known[20:]])
    assert strongest_hz(steady) == pytest.approx(1000, abs=2)
    assert dbfs(steady) == pytest.approx(-9.0, abs=0.2)


async def test_a_card_that_loses_sound_gets_a_larger_buffer() -> None:
    pair = SoundPair(worker=fake("xruns"))
    (health,) = pair.health("duplex")
    assert health.latency.value == sound_stream.DEVICE_STEPS_S[0]
    async with running(pair.speaker.run(silence)), running(pair.microphone.run(lambda pcm: None)):
        await eventually(lambda: health.latency.value == sound_stream.DEVICE_STEPS_S[-1])
        known = pair.microphone.xruns
        await eventually(lambda: pair.microphone.xruns >= known + 10)
    assert health.latency.value == sound_stream.DEVICE_STEPS_S[-1], "there is no larger one"


async def test_what_a_card_says_of_its_delay_is_not_believed_blindly() -> None:
    pair = SoundPair(worker=fake("loop"))
    async with running(pair.speaker.run(silence)), running(pair.microphone.run(lambda pcm: None)):
        await eventually(lambda: pair.together)
        assert (pair.microphone.latency_ms, pair.speaker.latency_ms) == (0.0, 10.0)
    assert pair.microphone.latency_ms is pair.speaker.latency_ms is None


async def test_each_half_may_be_used_once() -> None:
    pair = SoundPair(worker=fake("loop"))
    async with running(pair.speaker.run(silence)):
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="in use"):
            await pair.speaker.run(silence)


async def test_a_bug_in_a_sink_reaches_its_owner() -> None:
    def sink(pcm: Pcm) -> None:
        raise ValueError("bug")

    pair = SoundPair(worker=fake("stalls"))
    with pytest.raises(ValueError, match="bug"):
        await pair.microphone.run(sink)


async def test_a_tap_that_hangs_holds_nothing_up(caplog: pytest.LogCaptureFixture) -> None:
    """The fake card is ten times as fast as a real one: a second of sound waits for the tap after 0.1 s."""
    released = threading.Event()
    tapped: list[bytes] = []

    def hangs(data: bytes) -> None:
        released.wait(60.0)
        tapped.append(data)

    try:
        async with DuplexAudio(chunk_ms=10, playback_tap=hangs, worker=fake("loop")) as audio:
            for _ in range(300):
                await anext(audio.mic_chunks())
            await eventually(lambda: audio.tap_dropped >= 100)
            assert not tapped
            released.set()
            await eventually(lambda: len(tapped) > 100)
    finally:
        released.set()
    named = [record.message for record in caplog.records if "playback tap" in record.message]
    assert len(named) == 1 and "loses the oldest" in named[0]


async def test_a_tap_that_never_returns_does_not_keep_the_device(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_queues, "TAP_ENDS_S", 0.05)
    released = threading.Event()
    async with Speaker(playback_tap=lambda data: released.wait(60.0), worker=fake("loop")) as speaker:
        await eventually(lambda: speaker.tap_dropped > 0)
    assert "its thread is left behind" in caplog.text
    released.set()
    await eventually(lambda: sound_queues.TAP_THREAD not in {thread.name for thread in threading.enumerate()})


def handed_over(speaker: Speaker) -> int:
    """Blocks under way to the card."""
    stream = speaker._pair._opened.get("output")
    return 0 if stream is None or stream._work is None else len(stream._work._sent)


@pytest.mark.parametrize("stopped", [False, True])
async def test_stop_withdraws_what_the_card_has_not_fetched(
    stopped: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The fake card fetches nothing until it is told to, and then tells how loud each waiting block is."""
    monkeypatch.setattr(sound_stream, "LEAD_STEPS", (8,))
    monkeypatch.setattr(duplex, "RETRY_S", 60.0)
    fetch = tmp_path / "fetch"
    speaker = Speaker(48_000, worker=(*fake("holds"), str(fetch)))
    speaker.feed(np.full(48_000, 5000, np.int16).tobytes())
    async with speaker:
        await eventually(lambda: handed_over(speaker) == 8)
        if stopped:
            speaker.stop()
        fetch.touch()
        await eventually(lambda: "peaks" in caplog.text)
    assert f"peaks {[0 if stopped else 5000] * 8}" in caplog.text


async def test_who_keeps_the_microphones_thread_waiting_is_named(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sound_pair, "HELD_UP_S", 0.0)
    pair = SoundPair(worker=fake("loop"))
    async with running(pair.speaker.run(silence)), running(pair.microphone.run(lambda pcm: None)):
        await eventually(lambda: pair.held_up >= 3)
    named = [record.message for record in caplog.records if "held the sound up" in record.message]
    assert len(named) == 1 and "whoever gets the microphone's sound" in named[0]


async def test_after_a_refusal_both_together_are_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sound_pair, "REJOIN_S", 0.1)
    marker = tmp_path / "refused"
    pair = SoundPair(worker=(*fake("refuses-once"), str(marker)))
    async with running(pair.speaker.run(silence)), running(pair.microphone.run(lambda pcm: None)):
        await eventually(marker.exists)
        await eventually(lambda: pair.together)


async def test_when_a_common_stream_breaks_both_are_told() -> None:
    pair = SoundPair(worker=fake("fails"))
    told = await asyncio.gather(
        pair.speaker.run(silence), pair.microphone.run(lambda pcm: None), return_exceptions=True
    )
    assert [type(err) for err in told] == [DeviceLost, DeviceLost]
    assert not threading.active_count() > 20


@pytest.mark.pulse
async def test_who_is_missing_is_told_and_the_other_one_works(lab: PulseLab) -> None:
    asked: list[int] = []

    def pull(frames: int) -> Pcm:
        asked.append(frames)
        return silence(frames)

    pair = SoundPair("trumpet", "speaker")
    async with running(pair.speaker.run(pull)):
        with pytest.raises(DeviceMissing, match='no microphone "trumpet"'):
            await pair.microphone.run(lambda pcm: None)
        known = len(asked)
        await eventually(lambda: len(asked) > known + 20)
        assert not pair.together


@pytest.mark.pulse
async def test_a_microphone_that_nobody_runs_is_closed_at_the_device(lab: PulseLab) -> None:
    """As privacy does it: the sound goes on, and the sound daemon itself says that nobody listens."""
    asked: list[int] = []
    heard: list[Pcm] = []

    def pull(frames: int) -> Pcm:
        asked.append(frames)
        return silence(frames)

    pair = SoundPair("mic", "speaker")
    async with running(pair.speaker.run(pull)):
        async with running(pair.microphone.run(heard.append)):
            await eventually(lambda: pair.together and len(heard) > 10)
            assert listeners(lab) == 1
        assert listeners(lab) == 0
        known = len(heard), len(asked)
        await eventually(lambda: len(asked) > known[1] + 30)
        assert len(heard) == known[0]
        async with running(pair.microphone.run(heard.append)):
            await eventually(lambda: pair.together and len(heard) > known[0] + 10)


@dataclass(frozen=True)
class Way:
    """What keeps the echo away, how it is had, and by how much the echo must be less."""

    label: str
    mode: Mode
    loss_db: float


WAYS = [Way("livekit", "on", 35.0), Way("speexdsp", "on", 20.0), Way("half-duplex", "half-duplex", 40.0)]


@pytest.mark.pulse
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.label)
async def test_hands_free_through_real_devices(lab: PulseLab, monkeypatch: pytest.MonkeyPatch, way: Way) -> None:
    """What DuplexAudio plays is looped into its microphone: so much less of it must come out of mic_chunks().

    Compared with what came from the card, not by the engine's own figure. A loaded machine loses sound now and then,
    and a canceller learns anew: any second with a loud echo will do. How fast it learns is measured in sound, by
    tests/bench/echo.
    """
    if way.label == "speexdsp":
        if ctypes.util.find_library("speexdsp") is None:
            pytest.skip("libspeexdsp is not installed: run sudo apt install libspeexdsp1")
        monkeypatch.setattr(control_module, "LivekitCanceller", SpeexCanceller)
    captured: deque[Pcm] = deque(maxlen=100)
    sent: deque[bytes] = deque(maxlen=100)

    class Recorded(EchoControl):
        def together(self, block: Pcm, played: Pcm) -> Pcm:
            captured.append(block)
            return super().together(block, played)

    monkeypatch.setattr(duplex, "EchoControl", Recorded)
    lab.loop_speaker_into_mic()
    far = np.concatenate(blocks(speech(20.0, 1))).tobytes()
    async with DuplexAudio(chunk_ms=10, device=("mic", "speaker"), echo_cancel=way.mode) as audio:
        async with asyncio.timeout(REDUCED_S):
            while _loss_db(captured, sent) < way.loss_db:
                if audio.speaker.buffered_seconds < 5.0:
                    audio.feed_speaker(far)
                sent.append(await anext(audio.mic_chunks()))
        assert audio.together and audio.echo == way.label


def _loss_db(captured: deque[Pcm], sent: deque[bytes]) -> float:
    """By how much less was sent in the last second than was heard; 0 unless that was loud."""
    heard = list(captured)
    if len(heard) < 100 or len(sent) < 100:
        return 0.0
    left = np.frombuffer(b"".join(sent), "<i2").astype(np.float64) / FULL_SCALE
    heard_db = power_db(samples(heard), 0.0, 1.0)
    return heard_db - power_db(left, 0.0, 1.0) if heard_db > -30.0 else 0.0
