"""The `[[rule]]`s of the settings, which let events drive outputs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edge_node.call.bucket import Buckets, Rate

KINDS = ("data", "presence", "call", "channel", "input")
RULE_RATE = Rate(per_s=5, burst=10)

_ABSENT = object()
_COLOUR = re.compile("#[0-9a-fA-F]{6}$")  # of a light with three colours: blink#ff8000


@dataclass(frozen=True, slots=True)
class ShowLed:
    led: str
    pattern: str


@dataclass(frozen=True, slots=True)
class PulseRelay:
    relay: str


Output = ShowLed | PulseRelay


@dataclass(frozen=True, slots=True)
class Rule:
    """Fires when an event of kind `on` has every field of `match` (a name, or a dotted path) with an equal value."""

    on: str
    match: Mapping[str, Any]
    do: Output


@dataclass(frozen=True, slots=True)
class Outputs:
    """What rules may drive. `doors` are the relays that open something: they obey call.policy, never a rule."""

    leds: Collection[str] = ()
    relays: Collection[str] = ()
    doors: Collection[str] = ()
    patterns: Collection[str] = ()


def parse_rule(on: str, match: Mapping[str, Any], do: str, outputs: Outputs) -> Rule | str:
    """A rule, or the sentence that says what is wrong with it."""
    if on not in KINDS:
        return f"on = {on!r} is no kind of event: use {', '.join(KINDS)}"
    output = _parse_output(do, outputs)
    return output if isinstance(output, str) else Rule(on, dict(match), output)


def _parse_output(do: str, outputs: Outputs) -> Output | str:
    target, _, what = do.partition("=")
    kind, _, name = target.partition(":")
    match kind:
        case "led":
            return _led(name, what, outputs)
        case "relay":
            return _relay(name, what, outputs)
        case _:
            return f"do = {do!r} drives nothing: use led:NAME=PATTERN or relay:NAME=pulse"


def _led(name: str, pattern: str, outputs: Outputs) -> Output | str:
    if name not in outputs.leds:
        return f"no LED is named {name!r}: {_choice(outputs.leds, 'add a [[gpio.led]]')}"
    if _COLOUR.sub("", pattern) not in outputs.patterns:
        return f"{pattern!r} is no LED pattern: {_choice(outputs.patterns, 'there is none')}"
    return ShowLed(name, pattern)


def _relay(name: str, what: str, outputs: Outputs) -> Output | str:
    if name not in outputs.relays:
        return f"no relay is named {name!r}: {_choice(outputs.relays, 'add a [[gpio.relay]]')}"
    if name in outputs.doors:
        return f"a rule may not open a door, and relay {name!r} is one: doors open by door.open or a button only"
    if what != "pulse":
        return f"a rule may only pulse a relay: write relay:{name}=pulse"
    return PulseRelay(name)


def _choice(names: Collection[str], otherwise: str) -> str:
    return f"use {', '.join(sorted(names))}" if names else otherwise


class RuleEngine:
    """Finds what an event drives; each rule fires at a bounded rate, what is over it is counted in `refused`."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules: Sequence[Rule] = tuple(rules)
        self._rates = Buckets(RULE_RATE, max(1, len(self._rules)))

    @property
    def refused(self) -> int:
        return self._rates.refused

    def fire(self, on: str, facts: Mapping[str, Any], now: float) -> list[Output]:
        """The outputs for an event of kind `on`; `facts` are its fields, `now` is in seconds."""
        return [
            rule.do
            for index, rule in enumerate(self._rules)
            if rule.on == on
            and all(_equal(_find(facts, path), value) for path, value in rule.match.items())
            and self._rates.take(str(index), now)
        ]


def _find(facts: Mapping[str, Any], path: str) -> Any:
    """The value under a name, else under a dotted path."""
    if path in facts:
        return facts[path]
    value: Any = facts
    for step in path.split("."):
        if not isinstance(value, Mapping) or step not in value:
            return _ABSENT
        value = value[step]
    return value


def _equal(found: Any, wanted: Any) -> bool:
    # In JSON true is not 1, in Python it is.
    return isinstance(found, bool) == isinstance(wanted, bool) and bool(found == wanted)
