"""A sink that remembers, with a source that plays into it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from edge_node.aio.tasks import cancel_and_wait
from edge_node.ports import AccessUnit, VideoSource
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import av


class Viewer:
    """A VideoSink for coded pictures."""

    def __init__(self) -> None:
        self.units: list[AccessUnit] = []

    def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
        raise AssertionError("an RTSP source decodes nothing")

    def unit(self, unit: AccessUnit) -> None:
        self.units.append(unit)

    async def more(self, count: int, timeout_s: float = 30.0) -> list[AccessUnit]:
        """Waits until `count` more pictures have come; gives them."""
        have = len(self.units)
        await eventually(lambda: len(self.units) >= have + count, timeout_s)
        return self.units[have : have + count]


@asynccontextmanager
async def running(source: VideoSource, viewer: Viewer) -> AsyncIterator[asyncio.Task[Any]]:
    """The source runs inside the block; its exception, if any, belongs to whoever awaits the task."""
    task = asyncio.create_task(source.run(viewer))
    try:
        yield task
    finally:
        await cancel_and_wait(task, grace_s=5)
        if not task.cancelled():
            task.exception()  # looked at, so that asyncio does not complain
