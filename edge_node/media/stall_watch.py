"""Notices a source that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from edge_node.errors import SourceLost
from edge_node.ports import AccessUnit, Clock, VideoSink

if TYPE_CHECKING:
    import av

STALL_S = 3.0
FIRST_PICTURE_S = 6.0
"""Seconds a device may take to open, start, give its first picture."""


class StallWatch:
    """A VideoSink in front of another one that knows when the last picture came."""

    def __init__(
        self, sink: VideoSink, clock: Clock, stall_s: float = STALL_S, first_s: float = FIRST_PICTURE_S
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._stall_s = stall_s
        self._patience_s = first_s
        self._last_at = clock.monotonic()

    def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
        """A raw picture, passed on."""
        self._seen()
        self._sink.picture(frame, captured_at)

    def unit(self, unit: AccessUnit) -> None:
        """A coded picture, passed on."""
        self._seen()
        self._sink.unit(unit)

    async def run(self, source: Callable[[VideoSink], Coroutine[Any, Any, None]], lost: str) -> None:
        """Runs `source(self)`; SourceLost(lost) once it stands still. Ends it before it returns."""
        task = asyncio.create_task(source(self))
        try:
            while not task.done():
                await asyncio.wait([task], timeout=self._stall_s / 6)
                if not task.done() and self._clock.monotonic() - self._last_at > self._patience_s:
                    raise SourceLost(lost)
            task.result()
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=self._stall_s)

    def _seen(self) -> None:
        self._last_at = self._clock.monotonic()
        self._patience_s = self._stall_s
