"""The software encoder."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av

from edge_node.encode_plan.rules import low_latency_options, profile_option, vbv_kbit
from edge_node.media.encoders.codec import TIME_BASE

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext


def open_libx264(
    width_px: int, height_px: int, fps: float, ceiling_kbps: int, preset: str = "superfast"
) -> VideoCodecContext:
    """libx264 for conversation: no delay, one thread, constrained baseline, a keyframe only when asked for.

    Opened at its ceiling with maxrate == bit_rate: only a stream opened at a constant rate obeys later changes, down
    and back up to the ceiling. With VBV in x264-params, or before open(), they would do nothing.
    """
    codec = av.CodecContext.create("libx264", "w")
    codec.width, codec.height, codec.pix_fmt = width_px, height_px, "yuv420p"
    codec.time_base = TIME_BASE
    codec.framerate = Fraction(fps).limit_denominator(1000)
    codec.bit_rate = ceiling_kbps * 1000
    codec.thread_count = 1
    codec.options = {
        **low_latency_options("libx264"),
        "preset": preset,
        "profile": profile_option("libx264", "constrained baseline"),
        "maxrate": str(ceiling_kbps * 1000),
        "bufsize": str(vbv_kbit(ceiling_kbps) * 1000),
        "forced-idr": "1",
        "g": "999999",
        "x264-params": "scenecut=0:annexb=1:repeat-headers=1",
    }
    codec.open()
    return codec
