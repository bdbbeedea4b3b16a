"""The H.264 encoder of Zero 2 W, 3 and 4 through FFmpeg, for pictures in memory (not yet run on hardware)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, cast

import av

from edge_node.encode_plan.rules import low_latency_options, profile_option
from edge_node.media import h264
from edge_node.media.encoders.codec import TIME_BASE, Codec

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

    from edge_node.media.packet_queue import Packet

log = logging.getLogger(__name__)

NAME = "h264_v4l2m2m"
# FFmpeg tells this encoder its bit rate when it is opened and never again: it is opened anew for a change that is worth
# a keyframe.
WORTH_A_KEYFRAME = 0.3
REOPEN_EVERY_PICTURES = 60
# A keyframe nobody asked for: only as a safety.
GOP_S = 10


def open_raw(width_px: int, height_px: int, fps: float, kbps: int) -> Codec:
    """FFmpeg's wrapper of the kernel's encoder. Raises av.FFmpegError without such a device."""
    codec = cast("VideoCodecContext", av.CodecContext.create(NAME, "w"))  # PyAV types the names it knows only
    codec.width, codec.height, codec.pix_fmt = width_px, height_px, "yuv420p"
    codec.time_base = TIME_BASE
    codec.framerate = Fraction(fps).limit_denominator(1000)
    codec.bit_rate = kbps * 1000
    codec.gop_size = max(1, round(GOP_S * fps))
    codec.options = {**low_latency_options(NAME), "profile": profile_option(NAME, "constrained baseline")}
    codec.open()
    return codec


class BoardCodec:
    """The board's encoder as a Codec: SPS and PPS repeated, the bit rate changed by opening it anew now and then."""

    def __init__(
        self, width_px: int, height_px: int, fps: float, kbps: int, open_inner: Callable[[int, int, float, int], Codec]
    ) -> None:
        self._shape = (width_px, height_px, fps)
        self._open_inner = open_inner
        self._inner = open_inner(width_px, height_px, fps, kbps)
        self._opened_bit_rate = kbps * 1000
        self._pictures = 0
        self._sets = ParameterSets()
        self.bit_rate: int | None = kbps * 1000

    def encode(self, frame: av.VideoFrame) -> Sequence[Packet]:
        """As Codec.encode; may be a picture or two late."""
        wanted = self.bit_rate or self._opened_bit_rate
        off = abs(wanted / self._opened_bit_rate - 1)
        if off > WORTH_A_KEYFRAME and self._pictures >= REOPEN_EVERY_PICTURES:
            # Pictures still inside are lost: the new stream begins with a keyframe anyway.
            self._inner = self._open_inner(*self._shape, wanted // 1000)
            self._opened_bit_rate, self._pictures = wanted, 0
        self._pictures += 1
        return [self._sets.complete(packet) for packet in self._inner.encode(frame)]


class ParameterSets:
    """Remembers the SPS and PPS of a stream, puts them before keyframes that came without."""

    def __init__(self) -> None:
        self._sets: dict[int, bytes] = {}

    def complete(self, packet: Packet) -> Packet:
        """The packet itself, or a copy with SPS and PPS in front."""
        if not packet.is_keyframe:
            return packet
        data = bytes(packet)
        found = h264.parameter_sets(data)
        self._sets |= found
        missing = [nal for kind, nal in sorted(self._sets.items()) if kind not in found]
        if not missing:
            return packet
        whole: Packet = av.Packet(b"".join(h264.START + nal for nal in missing) + data)
        whole.pts, whole.dts, whole.time_base = packet.pts, packet.dts, packet.time_base
        whole.is_keyframe = True
        return whole


def open_v4l2m2m(width_px: int, height_px: int, fps: float, ceiling_kbps: int) -> Codec:
    """Opens the board's encoder. Raises av.FFmpegError when there is none or it refuses."""
    codec = BoardCodec(width_px, height_px, fps, ceiling_kbps, open_raw)
    log.info("the board's encoder is open: %dx%d at %.0f/s (not yet run on hardware)", width_px, height_px, fps)
    return codec
