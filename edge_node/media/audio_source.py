"""A track that plays whatever sound a program pushes into it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Literal, Protocol

import av
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from edge_node.dsp.pacing import Pacer
from edge_node.dsp.pcm import Pcm, stereo
from edge_node.media.opus_encoder import PACKET_FRAMES
from edge_node.media.player_frames import stereo_frame
from edge_node.ports import SAMPLE_RATE

BYTES_PER_SAMPLE = 2
PACKET_S = PACKET_FRAMES / SAMPLE_RATE
SLICES_PER_S = 50
CHANNELS = {"mono": 1, "stereo": 2}
IDLE_S = 1.0
"""Nobody listens when nobody asked for a frame for so long."""


class Warns(Protocol):
    """The standard library's loggers, or the SDK's."""

    def warning(self, msg: str, /) -> Any: ...


class AudioSource(MediaStreamTrack):
    """Sound goes in by push() at any pace, and comes out by recv() at the pace of the clock.

    What comes out is 16-bit stereo at 48 kHz in frames of 20 ms; silence where nothing was pushed in time.
    """

    kind = "audio"

    def __init__(
        self,
        *,
        input_rate: int = 16_000,
        input_layout: str = "mono",
        max_buffered_seconds: float = 5.0,
        logger: Warns | None = None,
        unheard: Literal["wait", "drop"] = "wait",
    ) -> None:
        """`unheard`: what push() does at the cap while nobody listens; "drop" gives up the oldest, and counts it.

        Raises ValueError for a layout other than mono or stereo.
        """
        if input_layout not in CHANNELS:
            raise ValueError(f'input_layout is "mono" or "stereo", not {input_layout!r}')
        super().__init__()
        self._rate = input_rate
        self._layout = input_layout
        self._step = CHANNELS[input_layout] * BYTES_PER_SAMPLE
        self._cap_frames = int(max_buffered_seconds * SAMPLE_RATE)
        self._log: Warns = logger if logger is not None else logging.getLogger(__name__)
        self._unheard = unheard
        self._carry = b""
        """Bytes of a sample that is not complete yet."""
        self._resampler: av.AudioResampler | None = None
        self._resampled: tuple[str, str, int] | None = None
        self._chunks: deque[Pcm] = deque()
        self._frames = 0
        self._pushing = asyncio.Lock()
        self._room = asyncio.Event()
        self._ending = False
        self._generation = 0
        """Counts clear(): the rest of a push() from before is not wanted any more."""
        self._pacer = Pacer(PACKET_S)
        self._pts = 0
        self._asked_at: float | None = None
        self.dropped_seconds = 0.0
        """Sound given up while nobody listened."""

    @property
    def buffered_seconds(self) -> float:
        """Sound that waits to be played."""
        return self._frames / SAMPLE_RATE

    async def push(self, data: bytes | bytearray | memoryview | av.AudioFrame) -> None:
        """Adds sound: 16-bit PCM in the input's rate and layout, cut anywhere, or a frame in any format.

        Suspends while more than max_buffered_seconds wait. Does nothing once the source has ended.
        """
        async with self._pushing:
            if isinstance(data, av.AudioFrame):
                await self._add(data)
                return
            pcm = self._carry + bytes(data)
            whole = len(pcm) // self._step * self._step
            self._carry = pcm[whole:]
            size = max(1, self._rate // SLICES_PER_S) * self._step
            generation = self._generation
            for start in range(0, whole, size):
                if generation == self._generation:
                    await self._add(self._frame(pcm[start : min(start + size, whole)]))

    def end(self) -> None:
        """No more will come: what waits is still played, then the track ends. A push() that waits returns."""
        if not self._ending:
            self._ending = True
            for pcm in self._rest():
                self._append(pcm)
            self._room.set()

    def clear(self) -> None:
        """Forgets what waits, so that the next frame is silence: somebody interrupted."""
        self._generation += 1
        self._chunks.clear()
        self._frames = 0
        self._resampler = None
        self._carry = b""
        self._room.set()

    def stop(self) -> None:
        """Ends the track at once."""
        super().stop()
        self._ending = True
        self._chunks.clear()
        self._frames = 0
        self._room.set()

    async def recv(self) -> av.AudioFrame:
        """The next 20 ms. Raises MediaStreamError once the source has ended."""
        if self.readyState != "live":
            raise MediaStreamError("this source has ended")
        self._asked_at = asyncio.get_running_loop().time()
        await asyncio.sleep(self._pacer.wait_s(self._asked_at))
        if self._ending and not self._frames:
            self.stop()
            raise MediaStreamError("this source has ended")
        samples = np.zeros(PACKET_FRAMES * 2, np.int16)
        filled = 0
        while filled < len(samples) and self._chunks:
            chunk = self._chunks.popleft()
            part = chunk[: len(samples) - filled]
            samples[filled : filled + len(part)] = part
            filled += len(part)
            if len(part) < len(chunk):
                self._chunks.appendleft(chunk[len(part) :])
        self._frames -= filled // 2
        self._room.set()
        frame = stereo_frame(samples, self._pts)
        self._pts += PACKET_FRAMES
        return frame

    async def _add(self, frame: av.AudioFrame) -> None:
        generation = self._generation
        for pcm in self._resample(frame):
            for start in range(0, len(pcm), 2 * PACKET_FRAMES):
                await self._until_room()
                if self._ending or generation != self._generation:
                    return
                self._append(pcm[start : start + 2 * PACKET_FRAMES])

    async def _until_room(self) -> None:
        while not self._ending and self._frames >= self._cap_frames:
            if self._unheard == "drop" and self._nobody_listens():
                self._drop_oldest()
                continue
            self._room.clear()
            try:
                async with asyncio.timeout(IDLE_S):
                    await self._room.wait()
            except TimeoutError:
                continue

    def _resample(self, frame: av.AudioFrame) -> list[Pcm]:
        """Interleaved 48 kHz stereo, after what a former kind of input still had to give."""
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        rest: list[Pcm] = []
        if self._resampler is None or kind != self._resampled:
            rest = self._rest()
            # One channel stays one: FFmpeg would make two out of it at 0.7 of the loudness.
            layout = "mono" if frame.layout.nb_channels == 1 else "stereo"
            self._resampler = av.AudioResampler(format="s16", layout=layout, rate=SAMPLE_RATE)
            self._resampled = kind
        pts, frame.pts = frame.pts, None  # where the sound goes is decided by when it is pushed
        try:
            return [*rest, *map(_samples, self._resampler.resample(frame))]
        finally:
            frame.pts = pts

    def _rest(self) -> list[Pcm]:
        """What the resampler still holds."""
        if self._resampler is None:
            return []
        resampler, self._resampler = self._resampler, None
        return list(map(_samples, resampler.resample(None)))

    def _append(self, pcm: Pcm) -> None:
        self._chunks.append(pcm)
        self._frames += len(pcm) // 2

    def _frame(self, pcm: bytes) -> av.AudioFrame:
        samples = np.frombuffer(pcm, "<i2").reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout=self._layout)
        frame.sample_rate = self._rate
        return frame

    def _nobody_listens(self) -> bool:
        return self._asked_at is None or asyncio.get_running_loop().time() - self._asked_at > IDLE_S

    def _drop_oldest(self) -> None:
        if not self.dropped_seconds:
            self._log.warning("nobody listens to this sound: the oldest of it is dropped from now on")
        frames = len(self._chunks.popleft()) // 2
        self._frames -= frames
        self.dropped_seconds += frames / SAMPLE_RATE


def _samples(frame: av.AudioFrame) -> Pcm:
    """Interleaved stereo of a resampled frame."""
    samples = frame.to_ndarray().reshape(-1).astype(np.int16, copy=False)
    return stereo(samples) if frame.layout.nb_channels == 1 else samples
