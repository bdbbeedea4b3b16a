"""A service manager for tests: the receiving end of sd_notify."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from tests.support.waiting import eventually


class NotifySocket:
    """Collects what a daemon tells its service manager.

    `with NotifySocket(tmp_path / "notify") as manager:` then start the daemon with `manager.env()`. An address that
    starts with `@` is bound in the abstract namespace.
    """

    def __init__(self, address: Path | str) -> None:
        self.address = str(address)
        self.messages: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def __enter__(self) -> NotifySocket:
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, tb: TracebackType | None) -> None:
        self._socket.close()

    def env(self, watchdog_s: float | None = None) -> dict[str, str]:
        """The variables a service manager sets; without WATCHDOG_PID, which means any process."""
        env = {"NOTIFY_SOCKET": self.address}
        if watchdog_s is not None:
            env["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        return env

    def poll(self) -> list[str]:
        """Everything told so far, one datagram each."""
        while True:
            try:
                self.messages.append(self._socket.recv(65536).decode())
            except BlockingIOError:
                return self.messages

    def count(self, message: str) -> int:
        """How often exactly this was told."""
        return self.poll().count(message)

    @property
    def statuses(self) -> list[str]:
        """The STATUS= lines so far."""
        return [text.removeprefix("STATUS=") for text in self.poll() if text.startswith("STATUS=")]

    async def until(self, predicate: Callable[[list[str]], bool], timeout_s: float = 30.0) -> list[str]:
        """Waits until predicate(messages) holds."""
        await eventually(lambda: predicate(self.poll()), timeout_s)
        return self.messages

    async def until_told(self, message: str, timeout_s: float = 30.0) -> None:
        """Waits for exactly this message."""
        await self.until(lambda messages: message in messages, timeout_s)
