"""Typed events for handlers and for `async for`."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Generic, TypeVar, overload

log = logging.getLogger(__name__)

E = TypeVar("E")
H = TypeVar("H", bound=Callable[[Any], Any])
DEFAULT_STREAM_SIZE = 4096
CLOSE_GRACE_S = 1.0


class EventStream(Generic[E]):
    """The events of one type as they come, for `async for`; a context manager.

    Overflow rule: beyond `maxsize` waiting events the oldest is dropped and counted in `dropped`; 0 means no bound.
    Once ended it stays ended: each further `anext` stops at once.
    """

    def __init__(self, maxsize: int, on_close: Callable[[EventStream[E]], None]) -> None:
        self._items: deque[E] = deque()
        self._maxsize = maxsize
        self._on_close = on_close
        self._wake = asyncio.Event()
        self._closed = False
        self.dropped = 0

    def push(self, event: E) -> None:
        if self._closed:
            return
        if self._maxsize and len(self._items) >= self._maxsize:
            self._items.popleft()
            self.dropped += 1
        self._items.append(event)
        self._wake.set()

    def __aiter__(self) -> AsyncIterator[E]:
        return self

    async def __anext__(self) -> E:
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._items.popleft()

    async def __aenter__(self) -> EventStream[E]:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the iteration after what is already waiting. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._wake.set()
        self._on_close(self)


class Emitter:
    """Handlers keyed by the exact class of the event; a failing one never affects the others or the emitter.

    Plain handlers run at once in the order of registration, coroutine functions as tasks.
    """

    def __init__(self, name: str = "emitter") -> None:
        self.__handlers: dict[type[Any], list[tuple[Callable[[Any], Any], bool]]] = {}
        self.__streams: dict[type[Any], list[EventStream[Any]]] = {}
        self.__name = name
        self.__running: set[asyncio.Task[None]] = set()

    @overload
    def on(self, event_type: type[E]) -> Callable[[H], H]: ...
    @overload
    def on(self, event_type: type[E], handler: H) -> H: ...
    def on(self, event_type: type[E], handler: H | None = None) -> H | Callable[[H], H]:
        """Calls `handler(event)` for each event of exactly this class; also usable as a decorator."""
        return self._register(event_type, handler, once=False)

    @overload
    def once(self, event_type: type[E]) -> Callable[[H], H]: ...
    @overload
    def once(self, event_type: type[E], handler: H) -> H: ...
    def once(self, event_type: type[E], handler: H | None = None) -> H | Callable[[H], H]:
        """Like on(), for the next event only."""
        return self._register(event_type, handler, once=True)

    def _register(self, event_type: type[E], handler: H | None, *, once: bool) -> H | Callable[[H], H]:
        def add(wanted: H) -> H:
            self.__handlers.setdefault(event_type, []).append((wanted, once))
            return wanted

        return add if handler is None else add(handler)

    def off(self, event_type: type[E], handler: Callable[[Any], Any]) -> None:
        """Removes the first registration of `handler`, by on() or once(); silent when there is none."""
        rows = self.__handlers.get(event_type, [])
        for index, (known, _) in enumerate(rows):
            if known == handler:
                del rows[index]
                return

    def listener_count(self, event_type: type[E]) -> int:
        """Handlers for this class; streams are not counted, as in the reference SDK."""
        return len(self.__handlers.get(event_type, []))

    def events(self, event_type: type[E], maxsize: int = DEFAULT_STREAM_SIZE) -> EventStream[E]:
        """A stream of the events of this class from now on."""
        stream: EventStream[E] = EventStream(maxsize, lambda s: self._forget(event_type, s))
        self.__streams.setdefault(event_type, []).append(stream)
        return stream

    def _forget(self, event_type: type[Any], stream: EventStream[Any]) -> None:
        streams = self.__streams.get(event_type, [])
        if stream in streams:
            streams.remove(stream)

    def emit(self, event: object) -> None:
        """Hands `event` to everyone who asked for its class. Never raises."""
        kind = type(event)
        for stream in list(self.__streams.get(kind, [])):
            stream.push(event)
        for row in list(self.__handlers.get(kind, [])):
            handler, once = row
            if once:
                rows = self.__handlers.get(kind, [])
                if row not in rows:
                    continue  # it ran, or was taken off, during this very dispatch
                rows.remove(row)
            self._call(handler, event)

    def _call(self, handler: Callable[[Any], Any], event: object) -> None:
        try:
            result = handler(event)
        except (Exception, asyncio.CancelledError):  # a handler that looks at a cancelled future cancels nobody else
            log.exception("a handler for %s failed", type(event).__name__)
            return
        if inspect.isawaitable(result):
            name = f"{self.__name}:{type(event).__name__}"
            task = asyncio.get_running_loop().create_task(_run(result, name), name=name)
            self.__running.add(task)
            task.add_done_callback(self.__running.discard)

    def release(self) -> None:
        """Ends all streams and forgets all handlers."""
        for streams in list(self.__streams.values()):
            for stream in list(streams):
                stream.close()
        self.__streams.clear()
        self.__handlers.clear()

    async def drain(self, grace_s: float = CLOSE_GRACE_S, spare: asyncio.Task[Any] | None = None) -> None:
        """Gives running handlers grace_s to end, then cancels them; the calling one, and `spare`, are left alone."""
        tasks = self.__running - {asyncio.current_task(), spare}
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=grace_s)


async def _run(result: Awaitable[Any], name: str) -> None:
    try:
        await result
    except Exception:
        log.exception("the handler %s failed", name)
