"""What one sender sends: a feed that never ends, whatever is plugged into it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import av
import numpy as np
from aiortc.codecs import get_encoder
from aiortc.codecs.base import Encoder
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from av.frame import Frame

log = logging.getLogger(__name__)

SILENCE_DBOV = -127  # RFC 6464 section 3


class Upstream(Protocol):
    """What a feed reads: frames to encode, or coded packets."""

    async def recv(self) -> Any:
        """The next one. Raises MediaStreamError at the end."""
        ...

    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One local track as one remote peer gets it.

    `mime_type` is set for coded tracks: what the sender must negotiate. `open()` starts one reading of the track.
    """

    id: str
    kind: str
    open: Callable[[], Upstream]
    stream_id: str | None = None
    mime_type: str | None = None


class Feed(MediaStreamTrack):
    """The track a sender keeps for its whole life; sources are plugged in and out behind it.

    The source is opened at the first recv() with the gate open, i.e. when media can really flow, so that a viewer's
    first picture is a fresh keyframe and a source nobody hears is not read.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self._outgoing: Outgoing | None = None
        self._upstream: Upstream | None = None
        self._reading: asyncio.Task[Any] | None = None
        self._open = False
        self._wake = asyncio.Event()
        self.switched = False

    def plug(self, outgoing: Outgoing | None) -> None:
        """Another source from the next frame on; None is a pause."""
        self._drop_upstream()
        self._outgoing = outgoing
        self._wake.set()

    def gate(self, is_open: bool) -> None:
        """Whether the other side takes this media now."""
        if is_open and not self._open:
            self._wake.set()
        elif not is_open and self._open:
            self._drop_upstream()
        self._open = is_open

    def request_keyframe(self) -> None:
        ask = getattr(self._upstream, "request_keyframe", None)
        if ask is not None:
            ask()

    def set_bitrate(self, kbps: int) -> bool:
        """Tells a source that encodes by itself; False when it does not."""
        tell = getattr(self._upstream, "set_bitrate", None)
        if tell is None:
            return False
        tell(kbps)
        return True

    async def recv(self) -> Any:
        """The next frame or packet of whatever is plugged in; waits while nothing is."""
        while True:
            if self.readyState != "live":
                raise MediaStreamError
            upstream = self._current()
            if upstream is None:
                self._wake.clear()
                await self._wake.wait()
                continue
            data = await self._read(upstream)
            if data is not None:
                return data

    def _current(self) -> Upstream | None:
        if self._outgoing is None or not self._open:
            return None
        if self._upstream is None:
            self._upstream = self._outgoing.open()
            self.switched = True
        return self._upstream

    async def _read(self, upstream: Upstream) -> Any:
        """One item, or None when the source ended or was switched meanwhile."""
        self._reading = asyncio.get_running_loop().create_task(_recv(upstream), name=f"feed-{self.kind}")
        try:
            return await self._reading
        except MediaStreamError:
            if upstream is self._upstream:
                self._drop_upstream()
                self._outgoing = None
            return None
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                self._reading.cancel()
                raise
            return None  # the reading was cut by plug(), gate() or stop()
        finally:
            self._reading = None

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.stop()
        if self._reading is not None:
            self._reading.cancel()

    def stop(self) -> None:
        super().stop()
        self._outgoing = None
        self._drop_upstream()
        self._wake.set()


async def _recv(upstream: Upstream) -> Any:
    return await upstream.recv()


@dataclass(frozen=True, slots=True)
class Coded:
    """What goes into RTP packets: `timestamp` on the codec's RTP clock, `level_dbov` for audio frames."""

    payloads: list[bytes]
    timestamp: int
    level_dbov: int | None = None


class SenderEncoder:
    """Encodes frames and packs coded packets onto one unbroken RTP clock, across changes of the source.

    It never raises: a frame that cannot be encoded is dropped, counted in `failures`, and said once.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._inner: Encoder | None = None
        self._codec: RTCRtpCodecParameters | None = None
        self._resampler: av.AudioResampler | None = None
        self._shape: tuple[object, ...] = ()
        self._shift = 0
        self._last: tuple[int, float] | None = None
        self._rebase = True
        self._keyframe = False
        self._bitrate = 0
        self.failures = 0

    def ask_keyframe(self) -> None:
        """The viewer cannot decode (RFC 4585 section 6.3.1, RFC 5104 section 4.3.1)."""
        self._keyframe = True
        self._feed.request_keyframe()

    @property
    def target_bitrate(self) -> int:
        """Bits per second, as the viewer estimates its path (REMB); read and set by aiortc."""
        return self._bitrate

    @target_bitrate.setter
    def target_bitrate(self, bitrate: int) -> None:
        self._bitrate = bitrate
        inner = self._inner
        if not self._feed.set_bitrate(bitrate // 1000) and inner is not None and hasattr(inner, "target_bitrate"):
            inner.target_bitrate = bitrate

    async def coded(self, data: Any, codec: RTCRtpCodecParameters) -> Coded | None:
        """`data` for the wire, or None when there is nothing to send yet."""
        try:
            if self._feed.switched or codec is not self._codec:
                self._feed.switched = False
                self._restart(codec)
            inner = self._inner or get_encoder(codec)
            self._inner = inner
            if not isinstance(data, Frame):
                payloads, timestamp = inner.pack(data)
                return self._on_clock(payloads, timestamp, codec) if payloads else None
            return await self._encode(inner, data, codec)
        except asyncio.CancelledError:
            raise
        except Exception:
            self.failures += 1
            self._restart(codec)
            if self.failures == 1:
                log.exception("a %s frame could not be encoded", codec.mimeType)
            return None

    async def _encode(self, inner: Encoder, frame: Frame, codec: RTCRtpCodecParameters) -> Coded | None:
        level = None
        if isinstance(frame, av.AudioFrame):
            shape = (frame.format.name, frame.layout.name, frame.sample_rate)
            if shape != self._shape:  # aiortc's encoders refuse another shape than their first frame's
                if self._shape:
                    self._restart(codec)
                    inner = self._inner = get_encoder(codec)
                self._shape = shape
            frame = self._as_s16(frame)
            level = level_dbov(frame)
        force, self._keyframe = self._keyframe, False
        loop = asyncio.get_running_loop()
        payloads, timestamp = await loop.run_in_executor(None, inner.encode, frame, force)
        return self._on_clock(payloads, timestamp, codec, level) if payloads else None

    def _as_s16(self, frame: av.AudioFrame) -> av.AudioFrame:
        """aiortc's encoders take 16-bit mono or stereo only."""
        if frame.format.name == "s16" and frame.layout.name in ("mono", "stereo"):
            return frame
        if self._resampler is None:
            self._resampler = av.AudioResampler(format="s16", layout="stereo", rate=frame.sample_rate)
        return self._resampler.resample(frame)[0]

    def _restart(self, codec: RTCRtpCodecParameters) -> None:
        self._codec = codec
        self._inner = self._resampler = None
        self._shape = ()
        self._rebase = True

    def _on_clock(
        self, payloads: list[bytes], timestamp: int, codec: RTCRtpCodecParameters, level: int | None = None
    ) -> Coded:
        now = time.monotonic()
        if self._rebase:
            self._rebase = False
            start = 0
            if self._last is not None:
                start = self._last[0] + max(1, int((now - self._last[1]) * codec.clockRate))
            self._shift = start - timestamp
        self._last = (timestamp + self._shift, now)
        return Coded(payloads, timestamp + self._shift, level)


def level_dbov(frame: av.AudioFrame) -> int:
    """Loudness of a 16-bit frame, 0 (loudest) to SILENCE_DBOV (RFC 6464)."""
    samples = frame.to_ndarray().astype(np.float64)
    power = float(np.mean(np.square(samples))) / 32767.0**2 if samples.size else 0.0
    if power <= 0.0:
        return SILENCE_DBOV
    return max(SILENCE_DBOV, min(0, round(10 * math.log10(power))))
