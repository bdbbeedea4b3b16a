"""Microphones and speakers without a device: files, tones and nothing."""

from __future__ import annotations

import time
import wave
from pathlib import Path

import numpy as np
import pytest

from edge_node.dsp.level import FLOOR_DBFS, dbfs
from edge_node.dsp.pcm import Pcm
from edge_node.dsp.tone import Tone
from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media import sound_thread
from edge_node.media.microphone import FileMicrophone, ToneMicrophone
from edge_node.media.speaker import NullSpeaker, WavSpeaker
from edge_node.media.wav import WavWriter
from tests.support.sound_checks import running, strongest_hz
from tests.support.waiting import eventually


def write_wav(path: Path, sound: Pcm, rate: int = 48_000) -> Path:
    wav = WavWriter(path, rate)
    wav.write(sound)
    wav.close()
    return path


async def test_the_tones_loudness_can_be_set() -> None:
    blocks: list[Pcm] = []
    microphone = ToneMicrophone(440, 0.5)
    async with running(microphone.run(blocks.append)):
        await eventually(lambda: len(blocks) >= 20)
        assert dbfs(np.concatenate(blocks)) == pytest.approx(-9.03, abs=0.2)
        microphone.set_amplitude(0.0)
        await eventually(lambda: not blocks[-1].any())
    assert strongest_hz(np.concatenate(blocks[:20])) == pytest.approx(440, abs=10)


async def test_blocks_come_at_the_pace_of_the_clock() -> None:
    blocks: list[Pcm] = []
    begin = time.monotonic()
    async with running(ToneMicrophone().run(blocks.append)):
        await eventually(lambda: len(blocks) >= 30)
        took = time.monotonic() - begin
    assert took > 0.25, "30 blocks are 300 ms of sound"


async def test_a_file_is_resampled_and_played_over_and_over(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", Tone(1000, 0.5, 16_000).block(1600), 16_000)
    blocks: list[Pcm] = []
    async with running(FileMicrophone(path).run(blocks.append)):
        await eventually(lambda: len(blocks) >= 25)
    assert strongest_hz(np.concatenate(blocks)) == pytest.approx(1000, abs=10)


@pytest.mark.parametrize("content", [None, b"", b"not a sound file at all", "empty"])
async def test_a_file_that_cannot_be_played_is_a_missing_device(tmp_path: Path, content: bytes | str | None) -> None:
    path = tmp_path / "a.wav"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "empty":
        write_wav(path, np.zeros(0, np.int16))
    with pytest.raises(DeviceMissing, match=r"audio\.microphone"):
        await FileMicrophone(path).run(lambda pcm: None)


async def test_the_wav_speaker_writes_what_it_plays(tmp_path: Path) -> None:
    tone, pulled = Tone(700, 0.5), []

    def pull(frames: int) -> Pcm:
        pulled.append(frames)
        return tone.block(frames)

    async with running(WavSpeaker(tmp_path / "a.wav").run(pull)):
        await eventually(lambda: len(pulled) >= 30)
    with wave.open(str(tmp_path / "a.wav")) as read:
        sound = np.frombuffer(read.readframes(48_000), np.int16)
    assert len(sound) >= 29 * 480
    assert strongest_hz(sound) == pytest.approx(700, abs=5)


async def test_a_wav_speaker_without_a_folder_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DeviceMissing, match=r"audio\.speaker"):
        await WavSpeaker(tmp_path / "no" / "a.wav").run(Tone().block)


async def test_a_wav_speaker_on_a_full_disk_is_lost() -> None:
    with pytest.raises(DeviceLost, match="make room"):
        await WavSpeaker(Path("/dev/full")).run(Tone().block)


async def test_the_null_speaker_knows_how_loud_it_would_be() -> None:
    speaker, tone = NullSpeaker(), Tone(700, 1.0)
    assert speaker.level_dbfs == FLOOR_DBFS
    async with running(speaker.run(tone.block)):
        await eventually(lambda: speaker.level_dbfs > -10)


async def test_a_thread_that_outlives_its_loop_says_nothing() -> None:
    """in_thread() waits for a limited time only; a thread that ends later finds nobody."""
    release: list[bool] = []

    def work(stop: object) -> None:
        while not release:
            time.sleep(0.005)

    async with running(sound_thread.in_thread("stubborn", work, lambda: release.append(True))):
        pass
