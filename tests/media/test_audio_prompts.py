"""What the node says: files, sentences, and a chime where they cannot be had."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_node.dsp.chimes import chime
from edge_node.dsp.level import dbfs, peak
from edge_node.dsp.pcm import RATE
from edge_node.dsp.tone import Tone
from edge_node.media.prompts import LOUDEST, MAX_S, Prompts
from edge_node.media.wav import WavWriter
from tests.support.sound_checks import running, strongest_hz
from tests.support.waiting import eventually


def tone_file(path: Path, seconds: float = 1.0, rate: int = 16_000) -> Path:
    wav = WavWriter(path, rate)
    wav.write(Tone(500, 0.3, rate).block(int(seconds * rate)))
    wav.close()
    return path


def test_built_in_sounds_are_there_at_once() -> None:
    prompts = Prompts({"press": "chime", "ended": "none"})
    assert not prompts.slow
    assert prompts.get("press").tolist() == chime().tolist()
    assert len(prompts.get("ended")) == len(prompts.get("nonsense")) == 0


async def test_a_file_is_played_at_our_rate_and_cut(tmp_path: Path) -> None:
    short, long = tone_file(tmp_path / "a.wav"), tone_file(tmp_path / "b.wav", MAX_S + 2, 8000)
    prompts = Prompts({"press": f"file:{short}", "ended": f"file:{long}"})
    assert prompts.slow and not len(prompts.get("press"))
    async with running(prompts.run()):
        await eventually(lambda: len(prompts.get("ended")))
    assert len(prompts.get("press")) == pytest.approx(RATE, abs=200)
    assert strongest_hz(prompts.get("press")) == pytest.approx(500, abs=3)
    assert len(prompts.get("ended")) == MAX_S * RATE


def test_what_cannot_be_played_is_a_chime_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "noise").write_bytes(b"no sound at all" * 100)
    wanted = {"a": "file:/nowhere.wav", "b": f"file:{tmp_path}/noise", "c": "say:Hello", "d": "say:Good bye"}
    prompts = Prompts(wanted, program="no-such-program")
    with caplog.at_level(logging.WARNING):
        prompts.load()
        prompts.load()
    assert all(np.array_equal(prompts.get(name), chime()) for name in wanted)
    texts = [record.getMessage() for record in caplog.records]
    assert len(texts) == 3
    assert "apt-get install no-such-program" in texts[2]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
def test_sentences_are_spoken_once(caplog: pytest.LogCaptureFixture) -> None:
    prompts = Prompts({"a": "say:Nobody answers.", "b": "say:Nobody answers.", "c": "say:-v is no option here"})
    prompts.load()
    assert prompts.get("a") is prompts.get("b")
    assert 0.4 * RATE < len(prompts.get("a")) < 5 * RATE
    assert peak(prompts.get("a")) == pytest.approx(LOUDEST, abs=0.01)
    assert dbfs(prompts.get("c")) > -40
    strange = Prompts({"a": "say:Hello"}, language="klingon-of-old")
    with caplog.at_level(logging.WARNING):
        strange.load()
    assert "audio.prompts.language" in caplog.text
    assert np.array_equal(strange.get("a"), chime())


def test_a_program_that_gives_no_sound_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    fake = tmp_path / "mute"
    fake.write_text("#!/bin/sh\ncat > /dev/null\n")
    fake.chmod(0o755)
    prompts = Prompts({"a": "say:Hello"}, program=str(fake))
    with caplog.at_level(logging.WARNING):
        prompts.load()
    assert "failed" in caplog.text and np.array_equal(prompts.get("a"), chime())
