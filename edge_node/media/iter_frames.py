"""The frames of a track for `async for`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack


async def iter_frames(track: MediaStreamTrack) -> AsyncGenerator[Any, None]:
    """Yields what track.recv() gives until the track ends, then ends too; any other error comes through."""
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        yield frame
