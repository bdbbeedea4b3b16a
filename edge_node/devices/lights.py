"""A thread that plays patterns on lights."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from edge_node.devices.patterns import PATTERNS, Colour, Look

JOIN_S = 2.0


class Shade(NamedTuple):
    """What a light is at a moment; without a colour, its own."""

    lit: bool
    colour: Colour | None = None


DARK = Shade(False)
Write = Callable[[str, Shade], None]
"""`write(light, shade)`."""


class LightPlayer:
    """Remembers the pattern of each light, plays them between start() and stop().

    `show` never waits for a pin: the thread alone writes.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._shown: dict[str, tuple[Look, float]] = dict.fromkeys(names, (Look(PATTERNS["off"]), 0.0))
        self._changed = threading.Condition()
        self._running = False
        self._thread: threading.Thread | None = None

    def show(self, name: str, look: Look) -> None:
        """From any thread; showing what is shown already lets it play on."""
        with self._changed:
            if self._shown[name][0] != look:
                self._shown[name] = (look, time.monotonic())
                self._changed.notify()

    def start(self, write: Write, on_failure: Callable[[Exception], None]) -> None:
        """Begins to play; `write` failing ends it with one call of on_failure from its thread."""
        self._running = True
        self._thread = threading.Thread(target=self._guard, args=(write, on_failure), name="lights", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended; lights stay as they are."""
        with self._changed:
            self._running = False
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(JOIN_S)
            self._thread = None

    def _guard(self, write: Write, on_failure: Callable[[Exception], None]) -> None:
        try:
            self._play(write)
        except Exception as err:
            on_failure(err)

    def _play(self, write: Write) -> None:
        lit: dict[str, Shade] = dict.fromkeys(self._shown, DARK)
        while True:
            with self._changed:
                if not self._running:
                    return
                wanted, wait_s = self._now()
                if wanted == lit:
                    # Condition.wait takes no infinity; a spare wake-up an hour costs nothing.
                    self._changed.wait(min(wait_s, 3600.0))
                    continue
            for name, state in wanted.items():
                if lit[name] != state:
                    write(name, state)
            lit = wanted

    def _now(self) -> tuple[dict[str, Shade], float]:
        now = time.monotonic()
        states: dict[str, Shade] = {}
        wait_s = 3600.0
        for name, (look, since) in self._shown.items():
            lit, lasts_s = look.pattern.at(now - since)
            states[name] = Shade(lit, look.colour if lit else None)
            wait_s = min(wait_s, lasts_s)
        return states, wait_s
