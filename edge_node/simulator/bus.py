"""What happens in the simulated world, told to whoever listens."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

Event = dict[str, Any]

QUEUE_SIZE = 256


class EventBus:
    """Observers are called at once; streams have a queue each (overflow rule: the oldest event is dropped)."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._observers: list[Callable[[Event], None]] = []
        self._streams: set[_Stream] = set()

    @property
    def streams(self) -> int:
        return len(self._streams)

    def observe(self, observer: Callable[[Event], None]) -> None:
        self._observers.append(observer)

    def tell(self, event: str, **fields: Any) -> None:
        """On the event loop."""
        message = {"event": event, **fields}
        for observer in self._observers:
            observer(message)
        self.tell_streams(message)

    def tell_streams(self, message: Event) -> None:
        """For what only a page wants to see, such as levels that move all the time."""
        for stream in self._streams:
            stream.put(message)

    def tell_threadsafe(self, event: str, **fields: Any) -> None:
        """From any thread; nothing once the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(lambda: self.tell(event, **fields))
        except RuntimeError:
            return

    async def stream(self) -> AsyncIterator[Event]:
        """Every event from now on."""
        stream = _Stream()
        self._streams.add(stream)
        try:
            while True:
                yield await stream.get()
        finally:
            self._streams.discard(stream)


class _Stream:
    def __init__(self) -> None:
        self._items: deque[Event] = deque(maxlen=QUEUE_SIZE)
        self._wake = asyncio.Event()

    def put(self, event: Event) -> None:
        self._items.append(event)
        self._wake.set()

    async def get(self) -> Event:
        while not self._items:
            self._wake.clear()
            await self._wake.wait()
        return self._items.popleft()
