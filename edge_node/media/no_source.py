"""No picture at all."""

from __future__ import annotations

import asyncio

from edge_node.ports import VideoSink


class NoSource:
    """The source `none`: runs, gives nothing."""

    label = "none"
    demand = None

    async def run(self, sink: VideoSink) -> None:
        """Waits until cancelled."""
        await asyncio.get_running_loop().create_future()
