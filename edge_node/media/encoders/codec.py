"""What every H.264 encoder here can do, whatever is behind it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from edge_node.ports import VIDEO_CLOCK

if TYPE_CHECKING:
    import av

    from edge_node.media.packet_queue import Packet

TIME_BASE = Fraction(1, VIDEO_CLOCK)


class Codec(Protocol):
    """An open encoder with time base 1/90000: `bit_rate` (bits per second) may be set between pictures.

    A picture with pict_type I becomes a keyframe with SPS and PPS in front; others become none.
    """

    bit_rate: int | None

    def encode(self, frame: av.VideoFrame) -> Sequence[Packet]:
        """The packets that this picture completes, in Annex B form."""
        ...


OpenCodec = Callable[[int, int, float, int], Codec]
"""open(width_px, height_px, fps, ceiling_kbps): an open encoder. Raises av.FFmpegError, ValueError or MemoryError."""
