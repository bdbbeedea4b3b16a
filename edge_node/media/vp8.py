"""VP8 for conversation, by libvpx."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av

from edge_node.ports import VIDEO_CLOCK

if TYPE_CHECKING:
    from edge_node.media.packet_queue import Packet

MIME_TYPE = "video/VP8"
# Measured at 720p30, 2 Mbit/s on one core: -6 takes 6.4 ms a picture, -8 4.9, -12 4.1, -16 3.2 (superfast x264: 5.2).
SPEED = -8
BUFFER_S = 0.6
# Per cent of a picture's share of the rate: a keyframe of 37 kB at 2 Mbit/s and 30 pictures a second.
MAX_KEYFRAME_PERCENT = 450
FALL, RISE = 0.85, 1.25
RISE_AFTER_S, FALL_AFTER_S = 4.0, 1.0


class LibvpxCodec:
    """A Codec whose `bit_rate` (bit/s) may change at any time; the class is its OpenCodec.

    FFmpeg hands libvpx a bit rate at its opening only, so a rate that strayed from the one in force by more than FALL
    or RISE opens the codec anew, which makes a keyframe: seldom upwards, soon downwards.
    """

    def __init__(self, width_px: int, height_px: int, fps: float, kbps: int) -> None:
        self._size = (width_px, height_px)
        self._fps = fps
        self.bit_rate: int | None = kbps * 1000
        self.opened = 0
        self._in_force = 0
        self._opened_pts = 0
        self._codec: av.VideoCodecContext | None = None

    def encode(self, frame: av.VideoFrame) -> list[Packet]:
        """Packets of a yuv420p picture of the codec's size, its pts in 1/90000 s."""
        pts, rate = frame.pts or 0, self.bit_rate or 0
        if self._codec is None or self._strayed(rate, (pts - self._opened_pts) / VIDEO_CLOCK):
            self._codec = self._open(rate)
            self._opened_pts = pts
        return list(self._codec.encode(frame))

    def _strayed(self, rate: int, since_s: float) -> bool:
        if rate < self._in_force * FALL:
            return since_s >= FALL_AFTER_S
        return rate > self._in_force * RISE and since_s >= RISE_AFTER_S

    def _open(self, rate: int) -> av.VideoCodecContext:
        codec = av.CodecContext.create("libvpx", "w")
        assert isinstance(codec, av.VideoCodecContext)
        codec.width, codec.height = self._size
        codec.pix_fmt = "yuv420p"
        codec.time_base = Fraction(1, VIDEO_CLOCK)
        codec.framerate = Fraction(self._fps).limit_denominator(1000)
        codec.bit_rate = self._in_force = rate
        codec.gop_size = 999_999
        codec.qmin, codec.qmax = 2, 56
        codec.thread_count = 1
        codec.options = {
            "deadline": "realtime",
            "cpu-used": str(SPEED),
            "lag-in-frames": "0",
            "error-resilient": "default",
            "static-thresh": "1",
            "minrate": str(rate),
            "maxrate": str(rate),
            "bufsize": str(round(rate * BUFFER_S)),
            "undershoot-pct": "100",
            "overshoot-pct": "15",
            "max-intra-rate": str(MAX_KEYFRAME_PERCENT),
        }
        codec.open()
        self.opened += 1
        return codec
