"""Watches the daemon's channel through its control socket until SIGTERM; then says the longest time it was off it."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, "/usr/lib/edge-node")
from edge_node.update.health import is_online
from edge_node.update.world import SOCKET, Systemd


def end(*_: object) -> None:
    raise SystemExit


signal.signal(signal.SIGTERM, end)
world, last, longest = Systemd(SOCKET), time.monotonic(), 0.0
try:
    while True:
        if is_online(world.status()):
            now = time.monotonic()
            longest, last = max(longest, now - last), now
        time.sleep(0.05)
finally:
    longest = max(longest, time.monotonic() - last)
    Path("/run/longest-off").write_text(f"{longest:.1f}")
