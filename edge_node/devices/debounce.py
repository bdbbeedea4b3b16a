"""Telling presses from contact bounce, from storms."""

from __future__ import annotations

from collections import deque
from enum import Enum

BOUNCE_S = 0.03
STORM_PRESSES = 20  # a person manages about 10 a second
STORM_WINDOW_S = 1.0
STORM_SILENCE_S = 5.0


class Edge(Enum):
    """What an edge of an input means."""

    PRESS = "press"
    NOTHING = "nothing"
    STORM = "storm"
    """The input has begun to storm and is ignored until it has been calm for STORM_SILENCE_S; said once."""


class PressFilter:
    """Judges the edges of one button.

    A press counts at its first edge, when no other edge came within BOUNCE_S before. More than STORM_PRESSES
    activations within STORM_WINDOW_S are a storm.
    """

    def __init__(self) -> None:
        self._last_edge = float("-inf")
        self._ignored_until = float("-inf")
        self._activations: deque[float] = deque(maxlen=STORM_PRESSES + 1)

    def edge(self, active: bool, now: float) -> Edge:
        """`active`: the button is down now; `now` in seconds."""
        settled = now - self._last_edge >= BOUNCE_S
        self._last_edge = now
        if not active:
            return Edge.NOTHING
        self._activations.append(now)
        ignored = now < self._ignored_until
        if len(self._activations) > STORM_PRESSES and now - self._activations[0] < STORM_WINDOW_S:
            self._ignored_until = now + STORM_SILENCE_S
            return Edge.NOTHING if ignored else Edge.STORM
        return Edge.PRESS if settled and not ignored else Edge.NOTHING
