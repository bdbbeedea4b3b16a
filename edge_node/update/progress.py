"""What an update says while it goes on: lines, on a terminal with the seconds that the last one takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

TICK_S = 1.0


class Progress:
    """Call it with each step. Elsewhere than on a terminal each step is one plain line.

    Use it in a with statement: it ends the last line. Who listened may go away (a closed connection): what cannot be
    said any more is no reason to stop an update.
    """

    def __init__(self, out: TextIO, now: Callable[[], float] = time.monotonic, tick_s: float = TICK_S) -> None:
        self._out = out
        self._now = now
        self._tick_s = tick_s
        self._gone = False
        self._terminal = out.isatty()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._step: tuple[str, float] | None = None
        self._ticker: threading.Thread | None = None

    def __call__(self, step: str) -> None:
        if not self._terminal:
            self._write(f"{step}\n")
            return
        with self._lock:
            self._end_line()
            self._step = step, self._now()
            self._write(step)
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
            self._ticker.start()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, err: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        if self._ticker is not None:
            self._ticker.join()
        with self._lock:
            self._end_line()

    def _tick(self) -> None:
        while not self._over.wait(self._tick_s):
            with self._lock:
                if self._step is not None:
                    step, began_at = self._step
                    self._write(f"\r{step} … {self._now() - began_at:.0f} s")

    def _end_line(self) -> None:
        if self._step is not None:
            self._write("\n")
            self._step = None

    def _write(self, text: str) -> None:
        if self._gone:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):
            self._gone = True
