"""Patterns fit what they should, against a slow and obvious oracle."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.protocol.patterns import Pattern, Wild, escape, parse_pattern, pattern_problem


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("app/*", "app/r1", True),
        ("app/*", "app/a/b", False),
        ("app/**", "app/r1", True),
        ("app/**", "app/a/b", True),
        ("**", "anything/at all", True),
        ("*", "anything/at all", False),
        ("room-*", "room-", True),
        ("room-*", "room-7", True),
        ("room-*", "Room-7", False),
        ("*/events", "door/events", True),
        ("devices/*/events", "devices/a/b/events", False),
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        (r"a\\b", r"a\b", True),
        (r"a\b", r"a\b", True),
        ("a\\", "a\\", True),
        ("***", "a/b", True),
        ("exact", "exact", True),
        ("exact", "exactly", False),
        ("", "", True),
    ],
)
def test_matches(pattern: str, name: str, fits: bool) -> None:
    assert parse_pattern(pattern).matches(name) is fits


@pytest.mark.parametrize(
    ("wide", "narrow", "covers"),
    [
        ("**", "telemetry/*", True),
        ("telemetry/**", "telemetry/*", True),
        ("telemetry/*", "telemetry/*", True),
        ("telemetry/*", "telemetry/door-*", True),
        ("telemetry/*", "telemetry/**", False),
        ("telemetry/*", "telemetry/*/x", False),
        ("telemetry/door-*", "telemetry/*", False),
        ("*", "**", False),
        ("a", "*", False),
    ],
)
def test_covers(wide: str, narrow: str, covers: bool) -> None:
    assert parse_pattern(wide).covers(parse_pattern(narrow)) is covers


def test_plain_names_are_known() -> None:
    assert parse_pattern("home/front-door").is_name
    assert parse_pattern(r"odd\name").is_name
    assert not any(parse_pattern(text).is_name for text in ("a*", "**", r"a\*b", r"a\\b"))


def test_problems_are_those_of_channel_names() -> None:
    assert pattern_problem("telemetry/*") is None
    assert pattern_problem("") and pattern_problem("x" * 257) and pattern_problem("a\nb")


def oracle(pattern: Pattern) -> re.Pattern[str]:
    parts = {Wild.SEGMENT: "[^/]*", Wild.ANY: ".*"}
    return re.compile("".join(parts[t] if isinstance(t, Wild) else re.escape(t) for t in pattern.tokens), re.DOTALL)


PATTERNS = st.text(alphabet="ab/*\\", max_size=8)
NAMES = st.text(alphabet="ab/*\\", max_size=10)


@given(PATTERNS, NAMES)
def test_agrees_with_a_regular_expression(text: str, name: str) -> None:
    pattern = parse_pattern(text)
    assert pattern.matches(name) == bool(oracle(pattern).fullmatch(name))


@given(PATTERNS, PATTERNS, NAMES)
def test_cover_is_never_a_false_yes(wide: str, narrow: str, name: str) -> None:
    if parse_pattern(wide).covers(parse_pattern(narrow)) and parse_pattern(narrow).matches(name):
        assert parse_pattern(wide).matches(name)


@given(NAMES)
def test_an_escaped_name_fits_itself_only(name: str) -> None:
    pattern = parse_pattern(escape(name))
    assert pattern.tokens == tuple(name)
    assert pattern.matches(name) and not pattern.matches(name + "a")


def test_time_does_not_explode() -> None:
    pattern = parse_pattern("*a" * 128)
    assert not pattern.matches("a" * 255 + "b")  # a backtracking matcher needs centuries for this
