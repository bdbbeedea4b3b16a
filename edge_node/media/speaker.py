"""Where a node is heard."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_node.dsp.level import Meter
from edge_node.dsp.pcm import Pcm
from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media.sound_stream import Health, SoundStream
from edge_node.media.sound_thread import every_block, in_thread
from edge_node.media.soundcard import WORKER
from edge_node.media.wav import WavWriter
from edge_node.ports import BLOCK_FRAMES

Pull = Callable[[int], Pcm]


class CardSpeaker:
    """An ALSA device, by PortAudio's name for it or a part of that; "default" is the system's."""

    def __init__(self, device: str = "default", *, worker: Sequence[str] = WORKER) -> None:
        self._device = device
        self._health = Health()
        self._stream = SoundStream("output", device, health=self._health, worker=worker)

    @property
    def label(self) -> str:
        return self._device

    @property
    def xruns(self) -> int:
        """How often the device had nothing to play in time."""
        return self._health.xruns + self._health.late

    @property
    def latency_ms(self) -> float | None:
        """Delay from pull() to the ear; None while the device is closed."""
        return self._health.output_ms

    async def run(self, pull: Pull) -> None:
        """Plays until cancelled. Raises DeviceLost or DeviceMissing."""
        await self._stream.run(lambda captured, played: None, pull)


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
