"""Where a node hears from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import av
import numpy as np

from edge_node.dsp.blocks import Blocks
from edge_node.dsp.pcm import Pcm
from edge_node.dsp.tone import Tone
from edge_node.errors import DeviceMissing
from edge_node.media.sound_stream import Health, SoundStream
from edge_node.media.sound_thread import every_block, in_thread
from edge_node.media.soundcard import WORKER
from edge_node.ports import BLOCK_FRAMES, SAMPLE_RATE

Sink = Callable[[Pcm], None]


class CardMicrophone:
    """An ALSA device, by PortAudio's name for it or a part of that; "default" is the system's."""

    def __init__(self, device: str = "default", *, worker: Sequence[str] = WORKER) -> None:
        self._device = device
        self._health = Health()
        self._stream = SoundStream("input", device, health=self._health, worker=worker)

    @property
    def label(self) -> str:
        return self._device

    @property
    def xruns(self) -> int:
        """How often the device lost sound because nobody fetched it in time."""
        return self._health.xruns

    @property
    def latency_ms(self) -> float | None:
        """Delay of the device's own buffers; None while it is closed."""
        return self._health.input_ms

    async def run(self, sink: Sink) -> None:
        """Delivers until cancelled. Raises DeviceLost or DeviceMissing."""

        def heard(captured: Pcm | None, _played: Pcm | None) -> None:
            assert captured is not None
            sink(captured)

        await self._stream.run(heard)


class ToneMicrophone:
    """A gentle tone."""

    label = "test"

    def __init__(self, frequency_hz: float = 440.0, amplitude: float = 0.1) -> None:
        self._tone = Tone(frequency_hz, amplitude)

    def set_amplitude(self, amplitude: float) -> None:
        """From now on: 0 is silence, 1 full scale."""
        self._tone.amplitude = amplitude

    async def run(self, sink: Sink) -> None:
        """Delivers until cancelled."""
        await in_thread("microphone", lambda stop: every_block(stop, lambda: sink(self._tone.block(BLOCK_FRAMES))))


class FileMicrophone:
    """A sound file of any kind FFmpeg reads, over and over."""

    label = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    async def run(self, sink: Sink) -> None:
        """Delivers until cancelled. Raises DeviceMissing when the file cannot be read or has no sound in it."""
        await in_thread("microphone", lambda stop: self._work(sink, stop))

    def _work(self, sink: Sink, stop: threading.Event) -> None:
        with closing(self._blocks()) as blocks:
            every_block(stop, lambda: sink(next(blocks)))

    def _blocks(self) -> Generator[Pcm, None, None]:
        blocks = Blocks(BLOCK_FRAMES)
        while True:
            heard = False
            for pcm in self._once():
                for block in blocks.push(pcm):
                    heard = True
                    yield block
            if not heard:
                raise DeviceMissing(
                    f"no sound in {self._path}: set audio.microphone to a file with at least 10 ms of it"
                )

    def _once(self) -> Iterator[Pcm]:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
        try:
            with av.open(str(self._path)) as container:
                if container.streams.audio:
                    for frame in container.decode(audio=0):
                        yield from map(_samples, resampler.resample(frame))
                    yield from map(_samples, resampler.resample(None))
        except (OSError, av.FFmpegError) as err:
            raise DeviceMissing(f"cannot read {self._path} ({err}): set audio.microphone to a sound file") from err


def _samples(frame: av.AudioFrame) -> Pcm:
    return frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)
