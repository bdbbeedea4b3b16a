"""Blocking sound work in a thread of its own that ends with the coroutine that started it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

from edge_node.aio.heartbeats import HEARTBEATS
from edge_node.dsp.pacing import Pacer
from edge_node.ports import BLOCK_FRAMES, SAMPLE_RATE

BLOCK_S = BLOCK_FRAMES / SAMPLE_RATE
GRACE_S = 0.8
"""How long a thread may take to end: less than the supervisor gives a part."""


async def in_thread(
    name: str, work: Callable[[threading.Event], None], on_cancel: Callable[[], None] = lambda: None
) -> None:
    """Runs work(stop) in a thread until it returns or raises, and gives back what it raised.

    On cancellation `stop` is set and on_cancel() called, which has to release the work from whatever it waits for.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    stop = threading.Event()

    def finish(err: BaseException | None) -> None:
        if err is None:
            done.set_result(None)
        else:
            done.set_exception(err)

    def body() -> None:
        failed: BaseException | None = None
        try:
            work(stop)
        except BaseException as err:  # carried over to the coroutine
            failed = err
        try:
            loop.call_soon_threadsafe(finish, failed)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            return

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    try:
        await asyncio.shield(done)
    finally:
        stop.set()
        if not done.done():
            on_cancel()
            await asyncio.wait([done], timeout=GRACE_S)
        if not done.done():
            HEARTBEATS.left_behind(name, thread)
        done.add_done_callback(lambda ended: ended.exception())


def every_block(stop: threading.Event, step: Callable[[], None]) -> None:
    """Calls step() every 10 ms by the monotonic clock until `stop` is set."""
    pacer = Pacer(BLOCK_S)
    while not stop.wait(pacer.wait_s(time.monotonic())):
        step()
