"""Whether this process's media threads still move: what an event loop cannot see of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType

STUCK_S = 20.0
"""A step takes milliseconds, the first one, which opens a codec, seconds on the smallest board."""


class Heartbeats:
    """Knows the threads that are in the middle of a step, and those that did not end when they were told to.

    A thread that waits for a device or a viewer is in no step, so what is unplugged or offline never counts as stuck.
    Methods may be called from any thread.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, stuck_s: float = STUCK_S) -> None:
        self._now = now
        self._stuck_s = stuck_s
        self._steps: dict[int, tuple[str, float]] = {}
        self._left: list[tuple[str, threading.Thread, float]] = []

    def step(self, name: str) -> Step:
        """A context for one piece of work that has to come to an end; one inside another counts by itself."""
        return Step(self, name)

    def left_behind(self, name: str, thread: threading.Thread) -> None:
        """A thread was told to end and did not: it may still hold its device."""
        self._left = [entry for entry in self._left if entry[1].is_alive()] + [(name, thread, self._now())]

    def stuck(self) -> list[str]:
        """The names of the threads that only the end of this process sets free."""
        now = self._now()
        # One atomic copy each: threads come and go meanwhile.
        found = {name for name, since in self._steps.copy().values() if now - since > self._stuck_s}
        found |= {name for name, thread, since in self._left if now - since > self._stuck_s and thread.is_alive()}
        return sorted(found)


class Step:
    """What Heartbeats.step() gives."""

    __slots__ = ("_beats", "_before", "_name")

    def __init__(self, beats: Heartbeats, name: str) -> None:
        self._beats = beats
        self._name = name
        self._before: tuple[str, float] | None = None

    def __enter__(self) -> None:
        steps, thread = self._beats._steps, threading.get_ident()
        self._before = steps.get(thread)
        steps[thread] = (self._name, self._beats._now())

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is None:
            del self._beats._steps[threading.get_ident()]
        else:
            self._beats._steps[threading.get_ident()] = self._before


HEARTBEATS = Heartbeats()
"""Of this process: threads belong to it, whoever started them."""
