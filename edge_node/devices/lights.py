"""A thread that plays patterns on lights."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from edge_node.devices.patterns import PATTERNS, Pattern

JOIN_S = 2.0


class LightPlayer:
    """Remembers the pattern of each light, plays them between start() and stop().

    `show` never waits for a pin: the thread alone writes.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self._shown: dict[str, tuple[Pattern, float]] = dict.fromkeys(names, (PATTERNS["off"], 0.0))
        self._changed = threading.Condition()
        self._running = False
        self._thread: threading.Thread | None = None

    def show(self, name: str, pattern: str) -> None:
        """From any thread; showing what is shown already lets it play on."""
        with self._changed:
            if self._shown[name][0] != PATTERNS[pattern]:
                self._shown[name] = (PATTERNS[pattern], time.monotonic())
                self._changed.notify()

    def start(self, write: Callable[[str, bool], None], on_failure: Callable[[Exception], None]) -> None:
        """Begins to play; `write(name, lit)` failing ends it with one call of on_failure from its thread."""
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

    def _guard(self, write: Callable[[str, bool], None], on_failure: Callable[[Exception], None]) -> None:
        try:
            self._play(write)
        except Exception as err:
            on_failure(err)

    def _play(self, write: Callable[[str, bool], None]) -> None:
        lit: dict[str, bool] = dict.fromkeys(self._shown, False)
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

    def _now(self) -> tuple[dict[str, bool], float]:
        now = time.monotonic()
        states = {name: pattern.at(now - since) for name, (pattern, since) in self._shown.items()}
        return {name: state for name, (state, _) in states.items()}, min(
            (s for _, s in states.values()), default=3600.0
        )
