"""Waits for conditions instead of sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def eventually(predicate: Callable[[], object], timeout_s: float = 30.0, every_s: float = 0.01) -> None:
    """Returns once predicate() is true; fails after timeout_s seconds."""
    try:
        async with asyncio.timeout(timeout_s):
            while not predicate():  # noqa: ASYNC110  (any condition, not only an event)
                await asyncio.sleep(every_s)
    except TimeoutError:
        raise AssertionError(f"it did not happen within {timeout_s:g} s") from None


async def settle() -> None:
    """Lets every task that can go on do so: for what involves no socket and no thread."""
    for _ in range(20):
        await asyncio.sleep(0)
