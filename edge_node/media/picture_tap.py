"""What looks at a source's pictures on their way to the viewers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edge_node.media.planes import lines
from edge_node.ports import AccessUnit, Clock, VideoSink

if TYPE_CHECKING:
    import av

LUMA_EVERY_S = 1.0
LUMA_STEP_PX = 8


class PictureTap:
    """ports.VideoSink in front of others; shut, it lets nothing through, whatever thread still delivers."""

    def __init__(
        self, sinks: Sequence[VideoSink], clock: Clock, on_luma: Callable[[float], None] | None = None
    ) -> None:
        """`on_luma(mean brightness, 0 to 255)` about once in LUMA_EVERY_S, in the source's thread."""
        self._sinks = tuple(sinks)
        self._clock = clock
        self._on_luma = on_luma
        self._luma_due = float("-inf")
        self._lock = threading.Lock()
        self._shut = False

    def shut(self, shut: bool) -> None:
        """From any thread: once this returns, no picture is on its way any more."""
        with self._lock:
            self._shut = shut

    def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
        with self._lock:
            if self._shut:
                return
            for sink in self._sinks:
                sink.picture(frame, captured_at)
        now = self._clock.monotonic()
        if self._on_luma is not None and now >= self._luma_due:
            self._luma_due = now + LUMA_EVERY_S
            if (luma := mean_luma(frame)) is not None:
                self._on_luma(luma)

    def unit(self, unit: AccessUnit) -> None:
        with self._lock:
            if self._shut:
                return
            for sink in self._sinks:
                sink.unit(unit)


def mean_luma(frame: av.VideoFrame) -> float | None:
    """Brightness of an 8-bit picture with a luma plane of its own, from every 64th pixel; None for other kinds."""
    if not frame.format.name.startswith(("yuv4", "yuvj4", "nv12", "gray")) or frame.format.components[0].bits != 8:
        return None
    plane = frame.planes[0]
    if plane.line_size < frame.width:
        return None
    return float(lines(plane)[::LUMA_STEP_PX, : frame.width : LUMA_STEP_PX].mean())
