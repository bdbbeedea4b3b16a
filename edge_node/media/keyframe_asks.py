"""What many viewers ask of one encoder, merged."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from edge_node.encode_plan.pace import KeyframeWindow
from edge_node.ports import Clock


class KeyframeAsks:
    """Calls `forward()` on the event loop at most once in KEYFRAME_WINDOW_S, and forgets nobody who asked.

    Made on the loop; ask() may come from any thread, the rest is called on the loop.
    """

    def __init__(self, clock: Clock, forward: Callable[[], None]) -> None:
        self._clock = clock
        self._forward = forward
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._window = KeyframeWindow()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> bool:
        """Somebody asked within the window and is served at its end."""
        return self._timer is not None

    def ask(self) -> None:
        """Somebody cannot decode until the next keyframe."""
        if threading.get_ident() == self._loop_thread:
            self._ask()
            return
        try:
            self._loop.call_soon_threadsafe(self._ask)
        except RuntimeError:  # the loop is closed: nobody is left to watch
            return

    def served(self) -> None:
        """A keyframe came by: whoever waits is served."""
        self.cancel()
        self._window.renew(self._clock.monotonic())

    def cancel(self) -> None:
        """Nobody is left who waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ask(self) -> None:
        delay_s = self._window.ask(self._clock.monotonic())
        if delay_s is None:
            return
        if delay_s > 0:
            self._timer = self._loop.call_later(delay_s, self._serve)
        else:
            self._serve()

    def _serve(self) -> None:
        self._timer = None
        self._window.renew(self._clock.monotonic())
        self._forward()
