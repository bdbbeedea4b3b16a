"""Whether a board can decode what it is sent."""

from __future__ import annotations

from edge_node.encode_plan.limits import BoardLimits
from edge_node.encode_plan.rules import macroblocks

# What decoding takes of the time that ultrafast encoding of as many macroblocks does (2.1 ms a picture of 720p).
# Measured on one x86 core: H.264 1.0 ms, H.265 1.4, JPEG at 12 Mbit/s 1.0.
COST = {"h264": 0.5, "hevc": 0.7, "mjpeg": 0.5}
_NAMES = {"h264": "H.264 with B-frames", "hevc": "H.265", "mjpeg": "JPEG"}
# The encoder needs the rest.
SHARE = 0.5
MAX_PIXELS = 4096 * 2304
"""A larger picture is refused by FFmpeg: 14 MB each, of which a decoder keeps up to 17 (H.264 table A-1)."""


def decode_refusal(board: BoardLimits, codec: str, width_px: int, height_px: int, fps: int) -> str | None:
    """Why this board cannot decode such pictures beside encoding them, or None. `codec`: a key of COST."""
    if _decodes(board, codec, width_px, height_px, fps):
        return None
    return (
        f"this board is too slow for {_NAMES[codec]} of {width_px}x{height_px} pixels: set the camera to H.264 without "
        "B-frames, or put the address of its smaller stream in video.url"
    )


def vp8_refusal(board: BoardLimits, width_px: int, height_px: int, fps: int) -> str | None:
    """Why nobody can have VP8 of a stream of H.264 that others are given as it is, or None."""
    if _decodes(board, "h264", width_px, height_px, fps):
        return None
    return (
        f"this board cannot make VP8 of {width_px}x{height_px} pixels: use a viewer that takes H.264, or put the "
        "address of the camera's smaller stream in video.url"
    )


def _decodes(board: BoardLimits, codec: str, width_px: int, height_px: int, fps: int) -> bool:
    limits = board.software
    if limits is None or width_px * height_px > MAX_PIXELS:
        return False
    return macroblocks(width_px, height_px) * fps * COST[codec] <= limits.max_mb_per_s * limits.parallel * SHARE
