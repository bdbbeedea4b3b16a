"""WAV files that are whole whenever somebody looks."""

from __future__ import annotations

import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from edge_node.dsp.pcm import silence
from edge_node.dsp.tone import Tone
from edge_node.media.wav import WavWriter


def test_what_was_written_can_be_read(tmp_path: Path) -> None:
    sound = Tone().block(1234)
    wav = WavWriter(tmp_path / "a.wav")
    wav.write(sound)
    wav.close()
    with wave.open(str(tmp_path / "a.wav")) as read:
        assert (read.getframerate(), read.getnchannels(), read.getsampwidth()) == (48_000, 1, 2)
        assert np.frombuffer(read.readframes(9999), np.int16).tolist() == sound.tolist()


def test_a_killed_process_leaves_a_whole_file(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib, numpy as np\n"
        "from edge_node.media.wav import WavWriter\n"
        "wav = WavWriter(pathlib.Path(sys.argv[1]))\n"
        "for _ in range(250): wav.write(np.ones(480, np.int16))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.wav")], check=False, timeout=60)
    with wave.open(str(tmp_path / "a.wav")) as read:
        assert read.getnframes() == 2 * 48_000, "all but the last half second"
        assert read.readframes(96_000).count(1) == 96_000


def test_it_stops_at_its_limit(tmp_path: Path) -> None:
    wav = WavWriter(tmp_path / "a.wav", max_s=0.01)
    wav.write(silence(300))
    assert not wav.full
    wav.write(silence(300))
    assert wav.full
    wav.write(silence(300))
    wav.close()
    with wave.open(str(tmp_path / "a.wav")) as read:
        assert read.getnframes() == 480


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        WavWriter(tmp_path / "no" / "a.wav")
