"""What every microphone and speaker keeps: simulated, on PulseAudio null sinks, and with --hardware on this board."""

from __future__ import annotations

import asyncio
import threading
import wave
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from edge_node.dsp.level import dbfs
from edge_node.dsp.pcm import RATE, Pcm, silence
from edge_node.dsp.tone import Tone
from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media.microphone import CardMicrophone, FileMicrophone, ToneMicrophone
from edge_node.media.speaker import CardSpeaker, NullSpeaker, WavSpeaker
from edge_node.ports import BLOCK_FRAMES, AudioSink, AudioSource
from tests.support.pulse import PulseLab
from tests.support.sound_checks import running, strongest_hz
from tests.support.waiting import eventually

HEAL_S = 30.0
RETRY_S = 0.5
PULSE = pytest.mark.pulse
HARDWARE = pytest.mark.hardware


@pytest.fixture(params=["test", "file", pytest.param("pulse", marks=PULSE), pytest.param("card", marks=HARDWARE)])
def microphone(request: pytest.FixtureRequest, tmp_path: Path) -> AudioSource:
    match request.param:
        case "test":
            return ToneMicrophone()
        case "file":
            with wave.open(str(tmp_path / "a.wav"), "wb") as file:
                file.setparams((2, 2, 44_100, 0, "NONE", ""))
                file.writeframes(np.zeros(8820, np.int16).tobytes())
            return FileMicrophone(tmp_path / "a.wav")
        case "pulse":
            request.getfixturevalue("lab")
            return CardMicrophone("mic")
        case _:
            return CardMicrophone()


@pytest.fixture(params=["none", "file", pytest.param("pulse", marks=PULSE), pytest.param("card", marks=HARDWARE)])
def speaker(request: pytest.FixtureRequest, tmp_path: Path) -> AudioSink:
    match request.param:
        case "none":
            return NullSpeaker()
        case "file":
            return WavSpeaker(tmp_path / "played.wav")
        case "pulse":
            request.getfixturevalue("lab")
            return CardSpeaker("speaker")
        case _:
            return CardSpeaker()


async def test_a_microphone_gives_blocks_until_cancelled_then_nothing_and_again(microphone: AudioSource) -> None:
    assert microphone.label
    for _ in range(2):
        blocks: list[Pcm] = []
        async with running(microphone.run(blocks.append)):
            await eventually(lambda: len(blocks) >= 30)  # noqa: B023
        given = len(blocks)
        assert {(block.dtype.name, block.shape) for block in blocks} == {("int16", (BLOCK_FRAMES,))}
        await eventually(no_sound_threads)
        assert len(blocks) == given


async def test_a_speaker_pulls_blocks_until_cancelled_then_nothing_and_again(speaker: AudioSink) -> None:
    assert speaker.label
    for _ in range(2):
        asked: list[int] = []

        def pull(frames: int) -> Pcm:
            asked.append(frames)  # noqa: B023
            return silence(frames)

        async with running(speaker.run(pull)):
            await eventually(lambda: len(asked) >= 30)  # noqa: B023
        await eventually(no_sound_threads)
        assert set(asked) == {BLOCK_FRAMES}


def no_sound_threads() -> bool:
    return not any(thread.name in ("microphone", "speaker") for thread in threading.enumerate())


@pytest.mark.pulse
async def test_a_tone_spoken_into_the_device_arrives(lab: PulseLab) -> None:
    blocks: list[Pcm] = []
    async with running(CardMicrophone("mic").run(blocks.append)):
        lab.play_into_mic(Tone(700, 0.3).block(20 * RATE))
        try:
            await eventually(lambda: blocks and dbfs(blocks[-1]) > -20)
            start = len(blocks)
            await eventually(lambda: len(blocks) >= start + 50)
        finally:
            lab.silence_mic()
    assert strongest_hz(np.concatenate(blocks[start:])) == pytest.approx(700, abs=5)


@pytest.mark.pulse
async def test_a_tone_played_comes_out_of_the_device(lab: PulseLab) -> None:
    tone, pulled = Tone(900, 0.3), []

    def pull(frames: int) -> Pcm:
        pulled.append(frames)
        return tone.block(frames)

    async with running(CardSpeaker("speaker").run(pull)):
        await eventually(lambda: len(pulled) >= 30)
        heard = await asyncio.to_thread(lab.record_speaker, 1.0)
    steady = heard[RATE // 2 :]
    assert strongest_hz(steady) == pytest.approx(900, abs=5)
    assert dbfs(steady) == pytest.approx(-13.5, abs=1.0)


@pytest.mark.pulse
async def test_a_device_that_does_not_exist_names_those_that_do(lab: PulseLab) -> None:
    with pytest.raises(DeviceMissing, match=r'no microphone "trumpet", there is .*"mic"') as missing:
        await CardMicrophone("trumpet").run(lambda pcm: None)
    assert "audio.microphone" in str(missing.value)
    with pytest.raises(DeviceMissing, match=r'"e" fits \d of: .*"speaker"'):
        await CardSpeaker("e").run(silence)


@pytest.mark.pulse
async def test_the_systems_default_device(lab: PulseLab) -> None:
    blocks: list[Pcm] = []
    async with running(CardMicrophone().run(blocks.append)):
        await eventually(lambda: len(blocks) >= 10)


async def keep(run: Callable[[], Awaitable[None]], failures: list[str]) -> None:
    """As the supervisor does: again after each failure."""
    while True:
        try:
            await run()
        except (DeviceLost, DeviceMissing) as err:
            failures.append(str(err))
        await asyncio.sleep(RETRY_S)


@pytest.mark.pulse
async def test_both_devices_heal_each_time_the_sound_daemon_is_killed(lab: PulseLab) -> None:
    blocks: list[Pcm] = []
    tone, failures, pulled = Tone(), list[str](), list[int]()

    def pull(frames: int) -> Pcm:
        pulled.append(frames)
        return tone.block(frames)

    def sink(pcm: Pcm) -> None:
        blocks.append(pcm)

    microphone, speaker = CardMicrophone("mic"), CardSpeaker("speaker")
    async with (
        running(keep(lambda: microphone.run(sink), failures)),
        running(keep(lambda: speaker.run(pull), failures)),
    ):
        for _ in range(3):
            blocks.clear()
            pulled.clear()
            await eventually(lambda: len(blocks) >= 20 and len(pulled) >= 20, HEAL_S)
            known = len(failures)
            lab.kill()
            await eventually(lambda: len(failures) >= known + 2)  # noqa: B023
            await asyncio.to_thread(lab.start)
        blocks.clear()
        pulled.clear()
        await eventually(lambda: len(blocks) >= 20 and len(pulled) >= 20, HEAL_S)
        for name in ("microphone", "speaker"):
            await eventually(lambda: [thread.name for thread in threading.enumerate()].count(name) == 1)  # noqa: B023


@pytest.mark.pulse
async def test_a_frozen_sound_daemon_is_noticed_and_survived(lab: PulseLab) -> None:
    blocks: list[Pcm] = []
    failures: list[str] = []
    microphone = CardMicrophone("mic")
    async with running(keep(lambda: microphone.run(blocks.append), failures)):
        await eventually(lambda: len(blocks) >= 20)
        lab.freeze()
        await eventually(lambda: failures)
        assert "stopped answering" in failures[0]
        lab.kill()
        await asyncio.to_thread(lab.start)
        blocks.clear()
        await eventually(lambda: len(blocks) >= 20, HEAL_S)
