"""Functions that may hang, from the event loop."""

from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from edge_node.aio.own_threads import OwnThreads, is_async
from tests.support.waiting import eventually


async def test_results_and_errors_come_back() -> None:
    threads = OwnThreads("own")
    assert await threads.call(lambda: threading.current_thread().name) == "own"
    with pytest.raises(ValueError, match="invalid literal"):
        await threads.call(partial(int, "x"))
    await eventually(lambda: threads.alive == 0)


async def test_what_hangs_is_counted_until_it_returns_and_its_coroutine_is_closed() -> None:
    threads, go = OwnThreads("own"), threading.Event()

    async def late() -> None: ...

    def hangs() -> object:
        go.wait(30)
        return late()  # never awaited: warnings are errors here

    for failing in (hangs, lambda: go.wait(30) and 1 / 0):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await threads.call(failing)
    assert threads.alive == 2
    go.set()
    await eventually(lambda: threads.alive == 0)
    await asyncio.sleep(0)  # what the threads have left for the loop


def test_whoever_waits_no_more_has_closed_the_loop() -> None:
    threads, go = OwnThreads("own"), threading.Event()

    async def leave() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await threads.call(partial(go.wait, 30))

    asyncio.run(leave())
    go.set()
    for thread in threads._threads:
        thread.join(30)
    assert threads.alive == 0


def test_what_is_called_with_await() -> None:
    class Called:
        async def __call__(self) -> None: ...

    async def function() -> None: ...

    assert is_async(function) and is_async(Called()) and not is_async(len)
