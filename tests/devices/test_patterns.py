"""The patterns of the lights."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edge_node.call.indicator import Indicator
from edge_node.devices.patterns import FOREVER, INDICATOR_COLOURS, INDICATOR_PATTERNS, PATTERNS, Look, Pattern, look


def test_steady() -> None:
    assert PATTERNS["on"].at(123.0) == (True, FOREVER)
    assert PATTERNS["off"].at(0.0) == (False, FOREVER)


def test_steps() -> None:
    pattern = Pattern(((True, 1.0), (False, 2.0), (True, 1.0), (False, 4.0)))
    assert pattern.at(0.0) == (True, 1.0)
    assert pattern.at(1.5) == (False, 1.5)
    assert pattern.at(3.0) == (True, 1.0)
    assert pattern.at(7.0) == (False, 1.0)
    assert pattern.at(8.5) == (True, 0.5)


@pytest.mark.parametrize("name", PATTERNS)
def test_following_it_makes_headway(name: str) -> None:
    elapsed_s, steps = 0.0, 0
    while elapsed_s < 10.0:
        _, left_s = PATTERNS[name].at(elapsed_s)
        assert left_s > 0
        elapsed_s += left_s
        steps += 1
    assert steps <= 150


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_flashes_faster_than_eyes_can_bear(name: str) -> None:
    lit = [PATTERNS[name].at(ms / 1000)[0] for ms in range(10_000)]
    flashes = [i for i in range(1, len(lit)) if lit[i] and not lit[i - 1]]
    assert all(later - first >= 290 for first, later in pairwise(flashes))


def test_each_indicator_has_its_own_pattern() -> None:
    assert set(INDICATOR_PATTERNS) == set(Indicator)
    assert set(INDICATOR_PATTERNS.values()) <= set(PATTERNS)
    assert len(set(INDICATOR_PATTERNS.values())) == len(Indicator)


def test_looks() -> None:
    assert look("blink") == Look(PATTERNS["blink"])
    assert look("on#ff0033") == Look(PATTERNS["on"], (1.0, 0.0, 0.2))
    for wrong in ("", "blik", "on#", "on#ff00", "on#gggggg", "on #ffffff", "#ffffff"):
        assert look(wrong) is None


def test_each_indicator_has_its_own_colour() -> None:
    assert set(INDICATOR_COLOURS) == set(Indicator)
    assert len(set(INDICATOR_COLOURS.values())) == len(Indicator)
    assert all(look(f"on{text}") is not None for text in INDICATOR_COLOURS.values())
