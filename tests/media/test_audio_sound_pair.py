"""Microphone and speaker together where they can, apart where they must, and whatever one of them does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import cycle, pairwise
from pathlib import Path

import numpy as np
import pytest

from edge_node.dsp.level import dbfs
from edge_node.dsp.pcm import Pcm, silence
from edge_node.dsp.tone import Tone
from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media import sound_pair, sound_stream
from edge_node.media.echo.control import EchoControl
from edge_node.media.echo.livekit_apm import LivekitCanceller
from edge_node.media.sound_pair import SoundPair
from edge_node.ports import BLOCK_FRAMES
from tests.support.pulse import PulseLab, pulse_lab
from tests.support.room import blocks, power_db, samples, speech
from tests.support.sound_checks import running, strongest_hz
from tests.support.waiting import eventually


def fake(behaviour: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.support.sound_worker_fake", behaviour)


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[PulseLab]:
    with pulse_lab() as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        yield lab


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


@pytest.mark.pulse
async def test_hands_free_through_real_devices(lab: PulseLab) -> None:
    """What the speaker plays is looped into the microphone: it must not be sent."""
    lab.loop_speaker_into_mic()
    recorded: list[Pcm] = []

    class Recorded(EchoControl):
        def together(self, captured: Pcm, played: Pcm) -> Pcm:
            recorded.append(captured)
            return super().together(captured, played)

    control = Recorded(make=LivekitCanceller)
    far = cycle(blocks(speech(20.0, 1)))
    sent: list[Pcm] = []
    since = 0

    def cancelled_for_a_second() -> bool:
        """A loaded machine loses sound now and then, and the canceller learns anew: any second will do."""
        nonlocal since
        if control.label != "livekit":
            since = len(sent)
        if len(sent) < since + 120:
            return False
        end = len(sent)
        heard, left = samples(recorded[end - 100 : end]), samples(sent[end - 100 : end])
        loss_db = control.return_loss_db
        if power_db(heard, 0.0, 1.0) <= -40.0 or loss_db is None or loss_db < 20.0:
            return False
        return power_db(heard, 0.0, 1.0) - power_db(left, 0.0, 1.0) >= 25.0

    pair = SoundPair("mic", "speaker", echo=control)
    async with (
        running(pair.speaker.run(lambda frames: next(far))),
        running(pair.microphone.run(sent.append)),
    ):
        await eventually(lambda: pair.together, 20.0)
        await eventually(cancelled_for_a_second, 120.0, 0.1)
    assert {len(block) for block in sent} == {BLOCK_FRAMES}
