"""What the node says: files, sentences, and a chime where they cannot be had."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import av
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


def encoded(path: Path, codec: str, rate: int, layout: str, sample_format: str) -> Path:
    """A second of 500 Hz as some program or other writes it."""
    resampler = av.AudioResampler(format=sample_format, layout=layout, rate=rate, frame_size=1152)
    frame = av.AudioFrame.from_ndarray(Tone(500, 0.3, rate).block(rate).reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = rate
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        assert isinstance(stream, av.AudioStream)
        stream.layout = layout
        for piece in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout", "sample_format"),
    [
        ("8-bit.wav", "pcm_u8", 8_000, "mono", "u8"),
        ("cd.wav", "pcm_s16le", 44_100, "stereo", "s16"),
        ("studio.wav", "pcm_s24le", 96_000, "5.1", "s32"),
        ("telephone.wav", "pcm_alaw", 8_000, "mono", "s16"),
        ("music.mp3", "libmp3lame", 44_100, "stereo", "s16p"),
    ],
)
def test_files_of_every_usual_kind_sound_the_same(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str, sample_format: str
) -> None:
    prompts = Prompts({"a": f"file:{encoded(tmp_path / name, codec, rate, layout, sample_format)}"})
    prompts.load()
    assert len(prompts.get("a")) == pytest.approx(RATE, abs=0.1 * RATE)
    assert strongest_hz(prompts.get("a")) == pytest.approx(500, abs=3)


def test_one_file_of_an_unknown_kind_leaves_the_others_to_be_heard(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tone_file(tmp_path / "a.wav")
    header = bytearray(path.read_bytes())
    header[20:22] = b"\x34\x12"  # a WAV says here how its sound is coded
    strange = tmp_path / "strange.wav"
    strange.write_bytes(header)
    empty = tone_file(tmp_path / "empty.wav", 0.0)
    prompts = Prompts({"a": f"file:{strange}", "b": f"file:{empty}", "c": f"file:{path}"})
    with caplog.at_level(logging.WARNING):
        prompts.load()
    assert np.array_equal(prompts.get("a"), chime()) and np.array_equal(prompts.get("b"), chime())
    assert strongest_hz(prompts.get("c")) == pytest.approx(500, abs=3)
    assert [str(path) in caplog.text for path in (strange, empty)] == [True, True]


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
