"""What tests want to know about sound."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

from edge_node.dsp.pcm import RATE, Pcm


def strongest_hz(sound: Pcm) -> float:
    """The frequency of the strongest tone, to within RATE / len(sound)."""
    windowed = sound.astype(np.float64) * np.hanning(len(sound))
    return float(np.argmax(np.abs(np.fft.rfft(windowed)))) * RATE / len(sound)


@asynccontextmanager
async def running(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """The work, cancelled and awaited at the end; what it raised by itself is raised here."""
    task = asyncio.ensure_future(work)
    try:
        yield task
    finally:
        ended = task.done()
        task.cancel()
        await asyncio.wait([task], timeout=5.0)
        assert task.done(), "it does not stop when cancelled"
        if ended and not task.cancelled() and (err := task.exception()) is not None:
            raise err
