"""A bounded mailbox that any thread may post to."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A queue between threads and one reader on the event loop.

    Overflow rule: an item equal to the newest waiting one coalesces with it; beyond `size` the newest is refused and
    counted in `dropped`.
    """

    def __init__(self, size: int = 64) -> None:
        self._size = size
        self._items: deque[T] = deque()
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._items)

    def post(self, item: T) -> None:
        """From the loop's own thread: at once."""
        if self._items and self._items[-1] == item:
            return
        if len(self._items) >= self._size:
            self.dropped += 1
            return
        self._items.append(item)
        self._wake.set()

    def post_threadsafe(self, item: T) -> None:
        """From any thread; silently nothing once the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self.post, item)
        except RuntimeError:  # the loop is closed: nobody is left to read
            return

    async def get(self, timeout_s: float | None = None) -> T | None:
        """The oldest item, or None after timeout_s seconds without one."""
        if not self._items:
            self._wake.clear()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                return None
        return self._items.popleft()
