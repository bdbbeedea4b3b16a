"""Where a node is heard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_node.dsp.blocks import Blocks
from edge_node.dsp.level import Meter
from edge_node.dsp.pcm import Pcm, Resampler
from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media.sound_thread import every_block, in_thread
from edge_node.media.soundcard import WORKER, SoundDevice
from edge_node.media.wav import WavWriter
from edge_node.ports import BLOCK_FRAMES, SAMPLE_RATE

Pull = Callable[[int], Pcm]


class CardSpeaker:
    """An ALSA device, by PortAudio's name for it or a part of that; "default" is the system's."""

    def __init__(self, device: str = "default", *, worker: Sequence[str] = WORKER) -> None:
        self._device = device
        self._worker = worker
        self.xruns = 0
        """How often the device had nothing to play in time."""
        self.latency_ms: float | None = None
        """Delay of the device's own buffers; None while it is closed."""

    @property
    def label(self) -> str:
        return self._device

    async def run(self, pull: Pull) -> None:
        """Plays until cancelled. Raises DeviceLost or DeviceMissing."""
        device = SoundDevice("output", self._device, self._worker)
        try:
            await in_thread("speaker", lambda stop: self._work(device, pull, stop), device.kill)
        finally:
            self.latency_ms = None
            device.close()

    def _work(self, device: SoundDevice, pull: Pull, stop: threading.Event) -> None:
        opened = device.open()
        self.latency_ms = opened.latency_ms
        resampler, blocks = Resampler(SAMPLE_RATE, opened.rate), Blocks(opened.block_frames)
        ready: list[Pcm] = []
        while not stop.is_set():
            self.xruns += device.wanted()
            while not ready:
                ready = blocks.push(resampler.push(pull(BLOCK_FRAMES)))
            device.write(ready.pop(0).tobytes())


class NullSpeaker:
    """Plays to nobody, at the right pace."""

    label = "none"

    def __init__(self) -> None:
        self._meter = Meter()

    @property
    def level_dbfs(self) -> float:
        """How loud it would be."""
        return self._meter.dbfs

    async def run(self, pull: Pull) -> None:
        """Pulls until cancelled."""
        await in_thread("speaker", lambda stop: every_block(stop, lambda: self._meter.feed(pull(BLOCK_FRAMES))))


class WavSpeaker:
    """Writes what it plays to a WAV file, up to an hour of it; starts the file anew with each run."""

    label = "file"

    def __init__(self, path: Path) -> None:
        self._path = path

    async def run(self, pull: Pull) -> None:
        """Plays until cancelled. Raises DeviceMissing (the file cannot be made) or DeviceLost (the disk is full)."""
        await in_thread("speaker", lambda stop: self._work(pull, stop))

    def _work(self, pull: Pull, stop: threading.Event) -> None:
        try:
            wav = WavWriter(self._path)
        except OSError as err:
            raise DeviceMissing(
                f"cannot write {self._path} ({err.strerror}): set audio.speaker to a file in a folder that exists"
            ) from err
        try:
            try:
                every_block(stop, lambda: wav.write(pull(BLOCK_FRAMES)))
            finally:
                wav.close()
        except OSError as err:
            raise DeviceLost(f"cannot write {self._path} ({err.strerror}): make room on the disk") from err
