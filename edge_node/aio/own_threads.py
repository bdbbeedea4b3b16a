"""Plain functions of other people, which may hang, called from the event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class OwnThreads:
    """Each call gets a daemon thread of its own: calls that hang would fill a pool that others need.

    How many there may be is the rule of whoever calls, by `alive`.
    """

    def __init__(self, name: str) -> None:
        """`name` is that of the threads."""
        self._name = name
        self._threads: list[threading.Thread] = []

    @property
    def alive(self) -> int:
        """Calls that have not returned, also those that nobody awaits any more."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        return len(self._threads)

    async def call(self, function: Callable[[], Any]) -> Any:
        """What it returns; raises what it raises. Whoever awaits sets the deadline: the thread runs on after that."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def run() -> None:
            try:
                result, error = function(), None
            except Exception as err:
                result, error = None, err
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(_settle, answer, result, error)

        self._threads.append(threading.Thread(target=run, name=self._name, daemon=True))
        self._threads[-1].start()
        return await answer


def _settle(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():  # nobody waited for so long
        if inspect.iscoroutine(result):
            result.close()
    elif error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)


def is_async(function: Callable[..., Any]) -> bool:
    """A coroutine function, or an object that is called like one."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
