"""One picture as a JPEG."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

import av

from edge_node.errors import UsageError

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

QUANTISERS = (3, 6, 12, 24)
"""FFmpeg's qscale, 2 (best) to 31: from hard to tell from the original to just recognisable."""
SMALLEST_PX = 64
LARGEST_PX = 8192


def encode_jpeg(frame: av.VideoFrame, max_bytes: int, max_width_px: int = LARGEST_PX) -> tuple[bytes, int, int]:
    """(JPEG, width_px, height_px) of at most max_bytes: coarser first, then smaller. Blocks for some milliseconds.

    Raises UsageError when even the smallest picture has more bytes.
    """
    factor = min(1.0, max_width_px / frame.width, LARGEST_PX / frame.height)
    while True:
        width, height = (max(2, int(side * factor) // 2 * 2) for side in (frame.width, frame.height))
        picture = frame.reformat(width, height, "yuvj420p")
        for quantiser in QUANTISERS:
            data = _encode(picture, quantiser)
            if len(data) <= max_bytes:
                return data, width, height
        factor *= 0.7
        if width * 0.7 < SMALLEST_PX:
            raise UsageError(f"a picture does not fit into {max_bytes} bytes: allow more")


def _encode(picture: av.VideoFrame, quantiser: int) -> bytes:
    codec: VideoCodecContext = av.CodecContext.create("mjpeg", "w")
    codec.width, codec.height, codec.pix_fmt = picture.width, picture.height, "yuvj420p"
    codec.time_base = Fraction(1, 1)
    codec.thread_count = 1
    codec.options = {"qmin": str(quantiser), "qmax": str(quantiser)}
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*codec.encode(picture), *codec.encode(None)])
