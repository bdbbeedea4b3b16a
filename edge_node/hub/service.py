"""The hub as a process: from start to SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable

from edge_node.hub.config import HubConfig
from edge_node.hub.server import Hub

STOP_GRACE_S = 3.0


async def run_hub(config: HubConfig, announce: Callable[[Hub], None] | None = None) -> None:
    """Serves until cancelled, SIGTERM or SIGINT; `announce(hub)` once it listens.

    Raises RetryLater when the address is taken.
    """
    hub = Hub(config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []
    await hub.start()
    try:
        for number in (signal.SIGTERM, signal.SIGINT):
            # Not outside the main thread, and not where a supervisor above has its own way to stop us.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, stop.set)
                handled.append(number)
        if announce is not None:
            announce(hub)
        await stop.wait()
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
        await hub.stop(STOP_GRACE_S)
