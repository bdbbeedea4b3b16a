"""Frames and coded packets, made ready for RTP packets."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from aiortc.codecs import get_encoder
from aiortc.codecs.base import Encoder
from aiortc.codecs.opus import OpusEncoder
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av.frame import Frame

log = logging.getLogger(__name__)

SILENCE_DBOV = -127  # RFC 6464 section 3
AUDIO_PACKETS_PER_S = 50  # aiortc's encoders make packets of 20 ms
VIDEO_CODECS = ("VP8", "H264")
AUDIO_CODECS = ("opus", "G722", "PCMU", "PCMA")
_timelines = itertools.count(1)


def new_timeline() -> int:
    """A number for timestamps that can be compared with one another and no others."""
    return next(_timelines)


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodePolicy:
    """How tracks of frames are encoded: the codec that is preferred where the other side takes it, and a cap.

    `video_codec` is VP8 or H264; `audio_codec` opus, G722, PCMU or PCMA. The encoders of pictures go no lower than 250
    (VP8) or 500 kbit/s (H264); of the sounds only opus has a bitrate. Raises ValueError for what does not exist.
    """

    video_codec: str | None = None
    audio_codec: str | None = None
    max_video_kbps: int | None = None
    max_audio_kbps: int | None = None

    def __post_init__(self) -> None:
        for name, known in (("video_codec", VIDEO_CODECS), ("audio_codec", AUDIO_CODECS)):
            if getattr(self, name) not in (None, *known):
                raise ValueError(f"{name} must be one of {', '.join(known)}")
        for name in ("max_video_kbps", "max_audio_kbps"):
            kbps = getattr(self, name)
            if kbps is not None and kbps <= 0:
                raise ValueError(f"{name} must be above 0")

    def prefers(self, kind: str) -> str | None:
        """The MIME type that is preferred for this kind of media."""
        name = self.video_codec if kind == "video" else self.audio_codec
        return None if name is None else f"{kind}/{name}"

    def max_kbps(self, kind: str) -> int | None:
        return self.max_video_kbps if kind == "video" else self.max_audio_kbps


@dataclass(frozen=True, slots=True)
class Coded:
    """One picture, or 20 ms of sound, as RTP payloads.

    `timestamp` is on the codec's RTP clock and can be compared within one `timeline`; `level_dbov` is for sound.
    """

    payloads: list[bytes]
    timestamp: int
    timeline: int
    keyframe: bool = True
    level_dbov: int | None = None


class FrameEncoder:
    """Turns what one source gives into one codec's payloads.

    It never raises: what cannot be encoded is dropped, counted in `failures`, and said once.
    """

    def __init__(self, codec: RTCRtpCodecParameters, max_kbps: int | None = None) -> None:
        self._codec = codec
        self._max_kbps = max_kbps
        self._inner: Encoder | None = None
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[object, ...] = ()
        self._timeline = 0
        self._path_kbps: int | None = None
        self.failures = 0

    def set_bitrate(self, kbps: int) -> None:
        """What the path carries; pictures adapt to it, sound does not."""
        self._path_kbps = kbps
        self._tell_bitrate()

    def _tell_bitrate(self) -> None:
        inner: Any = self._inner
        if inner is None:
            return
        cap = None if self._max_kbps is None else self._max_kbps * 1000
        if isinstance(self._inner, OpusEncoder):
            if cap is not None and not inner.codec.is_open:
                inner.codec.bit_rate = min(cap, inner.codec.bit_rate)
        elif hasattr(inner, "target_bitrate"):
            wanted = inner.target_bitrate if self._path_kbps is None else self._path_kbps * 1000
            inner.target_bitrate = wanted if cap is None else min(cap, wanted)

    async def coded(self, data: Any, keyframe: bool = False) -> list[Coded]:
        """A frame or packet for the wire; empty when there is nothing to send yet."""
        try:
            if isinstance(data, Frame):
                return await self._encode(data, keyframe)
            return self._pack(data)
        except asyncio.CancelledError:
            raise
        except Exception:
            self.failures += 1
            self._inner = None
            if self.failures == 1:
                log.exception("a %s frame could not be encoded", self._codec.mimeType)
            return []

    def _encoder(self) -> Encoder:
        if self._inner is None:
            self._inner = get_encoder(self._codec)
            self._timeline = new_timeline()
            self._tell_bitrate()
        return self._inner

    def _pack(self, packet: av.Packet[Any]) -> list[Coded]:
        payloads, timestamp = self._encoder().pack(packet)
        return [Coded(payloads, timestamp, self._timeline, packet.is_keyframe)] if payloads else []

    async def _encode(self, frame: Frame, keyframe: bool) -> list[Coded]:
        if isinstance(frame, av.AudioFrame):
            return await self._encode_sound(frame)
        keyframe = keyframe or self._inner is None
        payloads, timestamp = await self._in_thread(frame, keyframe)
        return [Coded(payloads, timestamp, self._timeline, keyframe)] if payloads else []

    async def _encode_sound(self, frame: av.AudioFrame) -> list[Coded]:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if shape != self._shape:  # aiortc's encoders refuse another shape than their first frame's
            self._inner = self._resampler = None
            self._shape = shape
        frame = self._as_s16(frame)
        level = level_dbov(frame)
        payloads, timestamp = await self._in_thread(frame, False)
        step = self._codec.clockRate // AUDIO_PACKETS_PER_S
        # A long frame gives several packets, each with a time of its own.
        return [Coded([p], timestamp + i * step, self._timeline, True, level) for i, p in enumerate(payloads)]

    async def _in_thread(self, frame: Frame, keyframe: bool) -> tuple[list[bytes], int]:
        return await asyncio.get_running_loop().run_in_executor(None, self._encoder().encode, frame, keyframe)

    def _as_s16(self, frame: av.AudioFrame) -> av.AudioFrame:
        """aiortc's encoders take 16-bit mono or stereo only."""
        if frame.format.name == "s16" and frame.layout.name in ("mono", "stereo"):
            return frame
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="s16", layout="stereo", rate=frame.sample_rate)
        return self._resampler.resample(frame)[0]


def level_dbov(frame: av.AudioFrame) -> int:
    """Loudness of a 16-bit frame, 0 (loudest) to SILENCE_DBOV (RFC 6464)."""
    samples = frame.to_ndarray().astype(np.float64)
    power = float(np.mean(np.square(samples))) / 32767.0**2 if samples.size else 0.0
    if power <= 0.0:
        return SILENCE_DBOV
    return max(SILENCE_DBOV, min(0, round(10 * math.log10(power))))
