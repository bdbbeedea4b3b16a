"""An open device of Video4Linux: what the kernel offers, as a port."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import select
from typing import Any, Protocol


class Device(Protocol):
    """Everything raises OSError as the kernel does; used by one thread, and never waits except in wait()."""

    def ioctl(self, request: int, argument: Any) -> None:
        """One of videodev2's requests, whose answer is written into `argument`, a structure of ctypes."""
        ...

    def map(self, offset: int, length: int) -> mmap.mmap:
        """A buffer that the driver lends, until it is closed."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Whether a picture, or a failure, can be fetched."""
        ...

    def close(self) -> None:
        """Lets the device go, once the buffers are closed."""
        ...


class KernelDevice:
    """The real one."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)

    def ioctl(self, request: int, argument: Any) -> None:
        """Lets other threads run meanwhile, USB cameras take seconds: fcntl.ioctl() does for up to 1024 bytes only."""
        while True:
            with contextlib.suppress(InterruptedError):  # PEP 475 leaves ioctl() out
                fcntl.ioctl(self._fd, request, argument)
                return

    def map(self, offset: int, length: int) -> mmap.mmap:
        return mmap.mmap(self._fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset)

    def wait(self, timeout_s: float) -> bool:
        return bool(self._poll.poll(timeout_s * 1000))

    def close(self) -> None:
        os.close(self._fd)
