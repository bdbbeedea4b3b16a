"""The hub as a process: from start to SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
from collections.abc import Callable

from edge_node.hub.config import HubConfig
from edge_node.hub.listener import SPARE_SOCKETS
from edge_node.hub.server import Hub

STOP_GRACE_S = 3.0
OTHER_FILES = 64
"""Open files that are no client's socket."""


async def run_hub(config: HubConfig, announce: Callable[[Hub], None] | None = None) -> None:
    """Serves until cancelled, SIGTERM or SIGINT; `announce(hub)` once it listens; SIGHUP lets it reload.

    Raises RetryLater when the address is taken, SettingsError for a key file or certificate that is none.
    """
    hub = Hub(config)
    allow_files(config.limits.max_connections + SPARE_SOCKETS + OTHER_FILES)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    handled: list[signal.Signals] = []
    await hub.start()
    try:
        for number, action in ((signal.SIGTERM, stop.set), (signal.SIGINT, stop.set), (signal.SIGHUP, hub.reload)):
            # Not outside the main thread, and not where a supervisor above has its own way to stop us.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.add_signal_handler(number, action)
                handled.append(number)
        if announce is not None:
            announce(hub)
        await stop.wait()
    finally:
        for number in handled:
            loop.remove_signal_handler(number)
        await hub.stop(STOP_GRACE_S)


def allow_files(wanted: int) -> None:
    """Lets this process open as many files, as far as its hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    # A sandbox may forbid it: then LimitNOFILE= of the unit says how many.
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
