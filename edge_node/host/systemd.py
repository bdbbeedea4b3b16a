"""The service manager's notification socket, spoken directly (sd_notify(3), systemd.service(5))."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

log = logging.getLogger(__name__)

MAX_STATUS_CHARS = 200


class SystemdWatchdog:
    """ports.Watchdog over $NOTIFY_SOCKET; without one every call does nothing.

    The socket never blocks: a message that does not fit is dropped, as the next one says the same or something newer.
    """

    def __init__(self, env: Mapping[str, str] | None = None, pid: int | None = None) -> None:
        env = os.environ if env is None else env
        self._address = _address(env.get("NOTIFY_SOCKET", ""))
        self._socket: socket.socket | None = None
        self._warned = False
        self._last_status = ""
        self.interval_s = _watchdog_interval_s(env, os.getpid() if pid is None else pid)
        """How often to call alive(): half of WatchdogSec=; None when nobody watches."""
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)

    def ready(self) -> None:
        """The start, or a reload, is complete."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; the same line twice is sent once."""
        line = " ".join(text.split())[:MAX_STATUS_CHARS]
        if line != self._last_status:
            self._last_status = line
            self._send(f"STATUS={line}")

    def alive(self) -> None:
        """The event loop works; nothing without WatchdogSec=."""
        if self.interval_s is not None:
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """A reload begins; ready() ends it."""
        now_us = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now_us}")

    def stopping(self) -> None:
        """The orderly end begins."""
        self._send("STOPPING=1")

    def close(self) -> None:
        """Later calls do nothing."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str) -> None:
        if self._socket is None or self._address is None:
            return
        try:
            self._socket.sendto(message.encode(), self._address)
        except OSError as err:
            if not self._warned:
                self._warned = True
                log.warning("the service manager does not listen on $NOTIFY_SOCKET: %s", err)


def _address(text: str) -> str | None:
    """A path, or a name in the abstract namespace, written with @ (unix(7)); other transports need no support here."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else None


def _watchdog_interval_s(env: Mapping[str, str], pid: int) -> float | None:
    """Half of WATCHDOG_USEC when it is meant for this process (sd_watchdog_enabled(3))."""
    try:
        if int(env.get("WATCHDOG_PID", str(pid))) != pid:
            return None
        usec = int(env["WATCHDOG_USEC"])
    except (KeyError, ValueError):
        return None
    return usec / 2e6 if usec > 0 else None
