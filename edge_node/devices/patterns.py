"""What the lights can play, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edge_node.call.indicator import Indicator

FOREVER = float("inf")
SHORTEST_S = 0.001  # so that whoever follows a pattern makes headway in spite of rounding


@dataclass(frozen=True, slots=True)
class Pattern:
    """Steps of (lit, seconds), repeated for ever."""

    steps: tuple[tuple[bool, float], ...]

    def at(self, elapsed_s: float) -> tuple[bool, float]:
        """Whether the light is lit after elapsed_s seconds, for how many seconds it stays so."""
        if len(self.steps) == 1:
            return self.steps[0][0], FOREVER
        left_s = elapsed_s % sum(duration_s for _, duration_s in self.steps)
        ends_s = 0.0
        for lit, duration_s in self.steps:
            ends_s += duration_s
            if left_s < ends_s:
                return lit, max(ends_s - left_s, SHORTEST_S)
        return self.steps[-1][0], SHORTEST_S


def _flashes(count: int, on_s: float, off_s: float, pause_s: float) -> Pattern:
    steps = [(True, on_s), (False, off_s)] * count
    return Pattern((*steps[:-1], (False, pause_s)))


# Nothing is faster than 3.4 flashes a second: faster ones can harm people with photosensitive epilepsy.
PATTERNS: Mapping[str, Pattern] = {
    "off": Pattern(((False, FOREVER),)),
    "on": Pattern(((True, FOREVER),)),
    "blink": _flashes(1, 0.5, 0, 0.5),
    "fast": _flashes(1, 0.15, 0, 0.15),
    "pulse": _flashes(1, 0.1, 0, 2.9),
    "double": _flashes(2, 0.15, 0.15, 1.55),
    "triple": _flashes(3, 0.15, 0.15, 1.25),
    "quadruple": _flashes(4, 0.15, 0.15, 0.95),
    "heartbeat": _flashes(2, 0.1, 0.2, 0.8),
}

INDICATOR_PATTERNS: Mapping[Indicator, str] = {
    Indicator.FAULT: "triple",
    Indicator.OFFLINE: "blink",
    Indicator.REFUSED: "quadruple",
    Indicator.IN_CALL: "on",
    Indicator.RINGING: "fast",
    Indicator.PRIVATE: "double",
    Indicator.SOMEBODY_HERE: "heartbeat",
    Indicator.ONLINE: "pulse",
}
"""What an indicator LED plays in each state of the node."""

# Colours help whoever has an RGB light; the patterns alone tell the same to people who do not see colours.
INDICATOR_COLOURS: Mapping[Indicator, str] = {
    Indicator.FAULT: "#ff3000",
    Indicator.OFFLINE: "#ff0000",
    Indicator.REFUSED: "#ff0060",
    Indicator.IN_CALL: "#00ff00",
    Indicator.RINGING: "#ffa000",
    Indicator.PRIVATE: "#a000ff",
    Indicator.SOMEBODY_HERE: "#00ff80",
    Indicator.ONLINE: "#0060ff",
}

Colour = tuple[float, float, float]
"""Red, green, blue, each 0 to 1."""
_LOOK = re.compile(r"(?P<pattern>[a-z]+)(?:#(?P<rgb>[0-9a-fA-F]{6}))?")


@dataclass(frozen=True, slots=True)
class Look:
    """What a light shows; without a colour it is the light's own."""

    pattern: Pattern
    colour: Colour | None = None


def colour(text: str) -> Colour:
    """`#rrggbb`. Raises ValueError."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red / 255, green / 255, blue / 255


def look(text: str) -> Look | None:
    """`blink`, or `blink#ff8000` for a light with three colours; None for what is neither."""
    found = _LOOK.fullmatch(text)
    if found is None or found["pattern"] not in PATTERNS:
        return None
    return Look(PATTERNS[found["pattern"]], colour(found["rgb"]) if found["rgb"] else None)
