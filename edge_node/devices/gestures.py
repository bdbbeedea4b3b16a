"""Telling a short press from a long one, from a double one."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from edge_node.devices.debounce import BOUNCE_S, Edge, PressFilter

NEVER = float("inf")


class Gesture(Enum):
    """What a finger did."""

    SHORT = "short"
    LONG = "long"
    DOUBLE = "double"
    STORM = "storm"
    """The input has begun to storm: see debounce.Edge.STORM."""


class GestureFilter:
    """Judges the edges of one button; with neither `long_s` nor `double_s` a press counts the moment it begins.

    A LONG press counts while the finger is still down, a DOUBLE one when it comes down again within `double_s` of its
    release. A SHORT one can therefore be told only at its release, or double_s after it.
    """

    def __init__(self, long_s: float | None = None, double_s: float | None = None) -> None:
        self._edges = PressFilter()
        self._long_s = long_s
        self._double_s = double_s
        self._long_at = NEVER
        self._released_at = NEVER  # an edge that a bounce may take back until BOUNCE_S later
        self._alone_at = NEVER
        self._down = False
        self._told = False

    @property
    def deadline(self) -> float | None:
        """When tick() is due, or None."""
        due = min(self._long_at, self._released_at + BOUNCE_S, self._alone_at)
        return None if due == NEVER else due

    def edge(self, active: bool, now: float) -> list[Gesture]:
        """`active`: the button is down now; `now` in seconds."""
        return [*self._timers(now), *self._edge(active, now)]

    def tick(self, now: float) -> list[Gesture]:
        """What the passing of time has decided; harmless when called early."""
        return list(self._timers(now))

    def _edge(self, active: bool, now: float) -> Iterator[Gesture]:
        verdict = self._edges.edge(active, now)
        if verdict is Edge.STORM:
            self._down = False
            self._long_at = self._released_at = self._alone_at = NEVER
            yield Gesture.STORM
        elif not active:
            if self._down and self._released_at == NEVER:
                self._released_at = now
        elif self._down:
            self._released_at = NEVER
        elif verdict is Edge.PRESS:
            yield from self._pressed(now)

    def _pressed(self, now: float) -> Iterator[Gesture]:
        if self._long_s is None and self._double_s is None:
            yield Gesture.SHORT
            return
        self._down = True
        second = self._alone_at != NEVER
        self._alone_at = NEVER
        self._told = second
        if second:
            yield Gesture.DOUBLE
        elif self._long_s is not None:
            self._long_at = now + self._long_s

    def _timers(self, now: float) -> Iterator[Gesture]:
        if self._long_at <= min(now, self._released_at):
            self._told = True
            self._long_at = NEVER
            yield Gesture.LONG
        if self._released_at + BOUNCE_S <= now:
            released_at, self._released_at = self._released_at, NEVER
            self._down = False
            self._long_at = NEVER
            if self._told:
                pass
            elif self._double_s is None:
                yield Gesture.SHORT
            else:
                self._alone_at = released_at + self._double_s
        if self._alone_at <= now:
            self._alone_at = NEVER
            yield Gesture.SHORT
