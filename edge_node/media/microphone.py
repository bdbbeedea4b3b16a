"""Where a node hears from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import av
import numpy as np

from edge_node.dsp.blocks import Blocks
from edge_node.dsp.pcm import Pcm, Resampler, silence
from edge_node.dsp.tone import Tone
from edge_node.errors import DeviceMissing
from edge_node.media.sound_thread import every_block, in_thread
from edge_node.media.sound_worker import BYTES_PER_FRAME
from edge_node.media.soundcard import WORKER, SoundDevice
from edge_node.ports import BLOCK_FRAMES, SAMPLE_RATE

Sink = Callable[[Pcm], None]


class CardMicrophone:
    """An ALSA device, by PortAudio's name for it or a part of that; "default" is the system's."""

    def __init__(self, device: str = "default", *, worker: Sequence[str] = WORKER) -> None:
        self._device = device
        self._worker = worker
        self.xruns = 0
        """How often the device lost sound because nobody fetched it in time."""
        self.latency_ms: float | None = None
        """Delay of the device's own buffers; None while it is closed."""

    @property
    def label(self) -> str:
        return self._device

    async def run(self, sink: Sink) -> None:
        """Delivers until cancelled. Raises DeviceLost or DeviceMissing."""
        device = SoundDevice("input", self._device, self._worker)
        try:
            await in_thread("microphone", lambda stop: self._work(device, sink, stop), device.kill)
        finally:
            self.latency_ms = None
            device.close()

    def _work(self, device: SoundDevice, sink: Sink, stop: threading.Event) -> None:
        opened = device.open()
        self.latency_ms = opened.latency_ms
        resampler, blocks = Resampler(opened.rate, SAMPLE_RATE), Blocks(BLOCK_FRAMES)
        while not stop.is_set():
            data, xrun = device.read(opened.block_frames * BYTES_PER_FRAME)
            self.xruns += xrun
            for block in blocks.push(resampler.push(np.frombuffer(data, np.int16))):
                sink(block)


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


class SilentMicrophone:
    """Nothing to hear."""

    label = "none"

    async def run(self, sink: Sink) -> None:
        """Delivers silence until cancelled."""
        nothing = silence(BLOCK_FRAMES)
        await in_thread("microphone", lambda stop: every_block(stop, lambda: sink(nothing)))


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
