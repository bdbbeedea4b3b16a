"""Sound and pictures of the interop programs, made and measured without our SDK."""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
from aiortc import AudioStreamTrack, VideoStreamTrack
from av.frame import Frame

REPORT_EVERY_S = 0.4
AMPLITUDE = 8000
SIZE_PX = (320, 240)


class Tone(AudioStreamTrack):
    """A sine in real time; aiortc's base class gives the silence and its pace."""

    def __init__(self, hz: float) -> None:
        super().__init__()
        self._hz = hz

    async def recv(self) -> Frame:
        frame = await super().recv()
        assert isinstance(frame, av.AudioFrame) and frame.pts is not None
        at = np.arange(frame.pts, frame.pts + frame.samples) / frame.sample_rate
        frame.planes[0].update((AMPLITUDE * np.sin(2 * np.pi * self._hz * at)).astype(np.int16).tobytes())
        return frame


class Picture(VideoStreamTrack):
    """Grey pictures that change, 30 per second."""

    async def recv(self) -> Frame:
        pts, time_base = await self.next_timestamp()
        frame = av.VideoFrame(*SIZE_PX, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([60 + pts // 3000 % 120]) * plane.buffer_size)
        frame.pts, frame.time_base = pts, time_base
        return frame


def frequency_hz(pcm: npt.NDArray[np.int16], rate_hz: int) -> float:
    """The strongest frequency of mono samples; 0 for silence."""
    if int(np.abs(pcm.astype(np.int32)).max(initial=0)) < 100:
        return 0.0
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size)))
    return round(float(np.argmax(spectrum)) * rate_hz / pcm.size, 1)
