"""Listeners to a track that cannot hold it up."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

log = logging.getLogger(__name__)

MAX_CHUNKS = 50
"""1 s of 20 ms chunks; overflow rule: the oldest goes."""


class SinkFeed:
    """Hands chunks to one sink at the sink's own pace: an async one in a task, a plain callable in a thread.

    A sink that raises is told once and goes on; one that hangs loses chunks, counted in `dropped`. What a plain
    callable gives back to be awaited is awaited on the event loop.
    """

    def __init__(self, sink: Any) -> None:
        """Raises TypeError for something that cannot listen."""
        handler = getattr(sink, "handle_audio_input", sink)
        if not callable(handler):
            raise TypeError(f"a sink has an async handle_audio_input(bytes) or is callable, {sink!r} is neither")
        self._handle: Callable[[bytes], Any] = handler
        self._is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004  (an object with an async __call__)
        )
        self._chunks: deque[bytes] = deque()
        self._there = threading.Condition()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._awaited: concurrent.futures.Future[Any] | None = None
        """What the plain callable gave back; its thread waits for it."""
        self._ended = False
        self.dropped = 0
        """Chunks that the sink was too slow for."""
        self.errors = 0
        """Chunks on which the sink failed."""

    def put(self, chunk: bytes) -> None:
        """One more chunk; on the event loop, never waits."""
        with self._there:
            if len(self._chunks) == MAX_CHUNKS:
                self._chunks.popleft()
                self.dropped += 1
                if self.dropped == 1:
                    log.warning("%r is too slow for the sound it gets: it loses some from now on", self._handle)
            self._chunks.append(chunk)
            self._there.notify()
        self._start()

    def close(self) -> None:
        """No more; what the sink is doing now, it may finish (a task is cancelled)."""
        with self._there:
            self._ended = True
            self._chunks.clear()
            self._there.notify()
            awaited = self._awaited
        if awaited is not None:
            awaited.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        if not self._is_async:
            if self._thread is None:
                loop = asyncio.get_running_loop()
                self._thread = threading.Thread(target=self._in_thread, args=(loop,), name="voice-sink", daemon=True)
                self._thread.start()
            return
        self._wake.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._in_task(), name="voice-sink")

    def _in_thread(self, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            with self._there:
                while not self._chunks and not self._ended:
                    self._there.wait()
                if self._ended:
                    return
                chunk = self._chunks.popleft()
            try:
                result = self._handle(chunk)
                if inspect.isawaitable(result):  # lambda chunk: avatar.send(chunk)
                    self._wait_for(result, loop)
            except Exception as err:
                if not self._ended:
                    self._failed(err)

    def _wait_for(self, result: Awaitable[Any], loop: asyncio.AbstractEventLoop) -> None:
        async def awaited() -> None:
            await result

        with self._there:
            if self._ended:
                return
            self._awaited = asyncio.run_coroutine_threadsafe(awaited(), loop)
        self._awaited.result()

    async def _in_task(self) -> None:
        while True:
            while not self._chunks:
                self._wake.clear()
                await self._wake.wait()
            chunk = self._chunks.popleft()
            try:
                await self._handle(chunk)
            except asyncio.CancelledError as err:  # ours, or that of something the sink waits for?
                task = asyncio.current_task()
                if task is None or task.cancelling():
                    raise
                self._failed(err)
            except Exception as err:
                self._failed(err)

    def _failed(self, err: BaseException) -> None:
        self.errors += 1
        if self.errors == 1:
            log.warning("%r failed on sound it was given: %r; it gets the next all the same", self._handle, err)
