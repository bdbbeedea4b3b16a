"""The sounds of the settings `[audio.prompts]`: built-in ones, files, spoken sentences."""

from __future__ import annotations

import asyncio
import io
import logging
import shutil
import subprocess
from collections.abc import Mapping
from typing import BinaryIO

import av
import numpy as np

from edge_node.dsp.chimes import SOUNDS, chime
from edge_node.dsp.level import peak
from edge_node.dsp.pcm import Pcm, saturate, silence
from edge_node.ports import SAMPLE_RATE

log = logging.getLogger(__name__)

MAX_S = 30
"""A longer file is cut there."""
SPEAK_S = 10.0
LOUDEST = 0.5
"""Peak of a spoken sentence: the loudness of the built-in sounds."""
SPEAKER = "espeak-ng"
UNPLAYABLE = (OSError, ValueError, LookupError, av.FFmpegError)
"""No such file; broken or empty; without sound, or of a kind unknown here; whatever else FFmpeg finds."""


class Prompts:
    """Built-in sounds are at hand at once, files and spoken sentences after load().

    What cannot be had is replaced by the chime, and said once.
    """

    def __init__(self, wanted: Mapping[str, str], language: str = "en", program: str = SPEAKER) -> None:
        """`wanted`: name → `none`, a built-in sound, `file:PATH` or `say:SENTENCE`."""
        self._wanted = dict(wanted)
        self._language = language
        self._program = program
        self._spoken: dict[str, Pcm] = {}
        self._told: set[str] = set()
        self._sounds = {name: SOUNDS[value]() for name, value in wanted.items() if value in SOUNDS}
        self.slow = any(":" in value for value in wanted.values())
        """Whether load() is needed: there are files or sentences."""

    def get(self, name: str) -> Pcm:
        """A sound; silence of no length when there is none, or it is not loaded yet."""
        return self._sounds.get(name, silence(0))

    def load(self) -> None:
        """Reads the files, speaks the sentences; blocks for as long as that takes."""
        for name, value in self._wanted.items():
            kind, _, what = value.partition(":")
            if kind == "file":
                self._sounds[name] = self._read(what)
            elif kind == "say":
                self._sounds[name] = self._say(what)

    async def run(self) -> None:
        """A part of the node: loads, then stays until cancelled."""
        await asyncio.to_thread(self.load)
        await asyncio.Event().wait()

    def _read(self, path: str) -> Pcm:
        try:
            return decoded(path)
        except UNPLAYABLE as err:
            return self._instead(f"cannot play {path} ({err}): give a sound file, WAV for one")

    def _say(self, sentence: str) -> Pcm:
        if sentence in self._spoken:
            return self._spoken[sentence]
        if shutil.which(self._program) is None:
            return self._instead(f"{self._program} is not installed: apt-get install {self._program} to hear sentences")
        # The sentence goes by stdin: one that begins with a dash is no option.
        command = [self._program, "-v", self._language, "--stdin", "--stdout"]
        try:
            done = subprocess.run(command, input=sentence.encode(), capture_output=True, timeout=SPEAK_S, check=True)
            spoken = decoded(io.BytesIO(done.stdout))
        except subprocess.CalledProcessError as err:
            why = err.stderr.decode(errors="replace").strip() or f"status {err.returncode}"
            return self._instead(f'{self._program} cannot speak "{self._language}" ({why}): set audio.prompts.language')
        except (*UNPLAYABLE, subprocess.TimeoutExpired) as err:
            return self._instead(f"{self._program} failed ({err}): install it anew")
        loud = peak(spoken)
        self._spoken[sentence] = saturate(spoken * (LOUDEST / loud)) if loud else spoken
        return self._spoken[sentence]

    def _instead(self, problem: str) -> Pcm:
        if problem not in self._told:
            self._told.add(problem)
            log.warning("%s; a chime is played instead", problem)
        return chime()


def decoded(source: str | BinaryIO) -> Pcm:
    """The first sound track of a file: mono, 48 kHz, at most MAX_S seconds. Raises one of UNPLAYABLE."""
    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    pieces, frames = [], 0
    with av.open(source, "r") as container:
        for frame in container.decode(container.streams.audio[0]):
            frame.pts = None
            pieces += [piece.to_ndarray().reshape(-1) for piece in resampler.resample(frame)]
            frames += frame.samples
            if frames > MAX_S * frame.sample_rate:
                break
        pieces += [piece.to_ndarray().reshape(-1) for piece in resampler.resample(None)]
    sound: Pcm = np.concatenate(pieces)[: MAX_S * SAMPLE_RATE].astype(np.int16)
    return sound
