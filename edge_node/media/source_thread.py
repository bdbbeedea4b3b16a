"""A source's blocking work in a thread that ends with its task."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable

from edge_node.aio.heartbeats import HEARTBEATS

log = logging.getLogger(__name__)


async def run_in_thread(work: Callable[[threading.Event], None], name: str, grace_s: float = 2.0) -> None:
    """Runs `work(stop)` in a thread of its own; raises what it raises.

    Cancelling sets `stop` and waits at most grace_s for the thread: work that blocks for longer is left behind, alone,
    with a warning; the watchdog sees to it.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[BaseException | None] = loop.create_future()
    stop = threading.Event()

    def finish(err: BaseException | None) -> None:
        if not done.done():
            done.set_result(err)

    def body() -> None:
        err: BaseException | None = None
        try:
            work(stop)
        except BaseException as caught:  # carried to the task, whatever it is
            err = caught
        try:
            loop.call_soon_threadsafe(finish, err)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    thread = threading.Thread(target=body, name=name, daemon=True)
    thread.start()
    try:
        err = await asyncio.shield(done)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([done], timeout=grace_s)
        if not done.done():
            log.warning("%s did not end within %g s", name, grace_s)
            HEARTBEATS.left_behind(name, thread)
        raise
    if err is not None:
        raise err
