"""Fingers, short and long."""

from __future__ import annotations

import pytest

from edge_node.devices.debounce import STORM_PRESSES
from edge_node.devices.gestures import Gesture, GestureFilter

LONG_S, DOUBLE_S = 1.0, 0.4
SHORT, LONG, DOUBLE = Gesture.SHORT, Gesture.LONG, Gesture.DOUBLE


def played(keys: GestureFilter, *edges: tuple[float, bool], until: float = 60.0) -> list[tuple[float, Gesture]]:
    """(when, what) of everything told, with tick() called exactly when it is due."""
    told: list[tuple[float, Gesture]] = []
    for at, active in (*edges, (until, None)):
        while (due := keys.deadline) is not None and due <= at:
            told += [(round(due, 3), gesture) for gesture in keys.tick(due)]
        if active is not None:
            told += [(at, gesture) for gesture in keys.edge(active, at)]
    return told


def tap(at: float, held_s: float = 0.1) -> list[tuple[float, bool]]:
    return [(at, True), (round(at + held_s, 3), False)]


def test_a_plain_button_counts_at_once() -> None:
    keys = GestureFilter()
    assert played(keys, *tap(1.0), *tap(2.0, 5.0)) == [(1.0, SHORT), (2.0, SHORT)]
    assert keys.deadline is None


def test_with_a_long_action_short_counts_at_the_release() -> None:
    assert played(GestureFilter(LONG_S), *tap(1.0)) == [(1.13, SHORT)]


def test_long_counts_while_it_is_held_and_only_once() -> None:
    assert played(GestureFilter(LONG_S), *tap(1.0, 8.0)) == [(2.0, LONG)]


def test_with_a_double_action_short_counts_when_no_second_came() -> None:
    assert played(GestureFilter(None, DOUBLE_S), *tap(1.0)) == [(1.5, SHORT)]
    assert played(GestureFilter(None, DOUBLE_S), *tap(1.0, 20.0)) == [(21.4, SHORT)]


def test_double_counts_when_the_finger_comes_down_again() -> None:
    assert played(GestureFilter(None, DOUBLE_S), *tap(1.0), *tap(1.3)) == [(1.3, DOUBLE)]
    assert played(GestureFilter(LONG_S, DOUBLE_S), *tap(1.0), *tap(1.3, 9.0)) == [(1.3, DOUBLE)]


def test_three_taps_are_a_double_and_a_short() -> None:
    told = played(GestureFilter(None, DOUBLE_S), *tap(1.0), *tap(1.3), *tap(1.6))
    assert told == [(1.3, DOUBLE), (2.1, SHORT)]


def test_all_three_on_one_button() -> None:
    keys = GestureFilter(LONG_S, DOUBLE_S)
    told = played(keys, *tap(1.0), *tap(5.0, 3.0), *tap(10.0), *tap(10.3), *tap(20.0))
    assert told == [(1.5, SHORT), (6.0, LONG), (10.3, DOUBLE), (20.5, SHORT)]


@pytest.mark.parametrize("double_s", [None, DOUBLE_S])
def test_contacts_that_bounce_are_one_press(double_s: float | None) -> None:
    bounces = [(1.0, True), (1.004, False), (1.008, True), (1.5, False), (1.503, True), (1.507, False)]
    assert [gesture for _, gesture in played(GestureFilter(LONG_S, double_s), *bounces)] == [SHORT]


def test_a_bounce_while_it_is_held_does_not_end_a_long_press() -> None:
    assert played(GestureFilter(LONG_S), (1.0, True), (1.9, False), (1.905, True), (4.0, False)) == [(2.0, LONG)]


def test_a_late_tick_judges_by_when_things_happened() -> None:
    keys = GestureFilter(LONG_S)
    assert keys.edge(True, 1.0) == []
    assert keys.edge(False, 1.5) == []
    assert keys.tick(9.0) == [SHORT], "it was released before it was long"
    assert keys.edge(True, 10.0) == []
    assert keys.edge(False, 12.0) == [LONG]
    assert keys.tick(20.0) == []


def test_a_storm_is_no_long_press() -> None:
    keys = GestureFilter(LONG_S, DOUBLE_S)
    storm = [(1.0 + index * 0.02, index % 2 == 0) for index in range(6 * STORM_PRESSES)]
    told = [gesture for _, gesture in played(keys, *storm)]
    assert told == [Gesture.STORM]
    assert played(keys, *tap(70.0), until=80.0) == [(70.5, SHORT)]


def test_a_release_without_a_press_is_nothing() -> None:
    assert played(GestureFilter(LONG_S), (1.0, False)) == []
