"""Rules from events to outputs."""

from __future__ import annotations

from typing import Any

import pytest

from edge_node.call.rules import Outputs, PulseRelay, Rule, RuleEngine, ShowLed, parse_rule

OUTPUTS = Outputs(leds=["status"], relays=["door", "light"], doors=["door"], patterns=["off", "blink"])


def rule(on: str, match: dict[str, Any], do: str) -> Rule:
    made = parse_rule(on, match, do, OUTPUTS)
    assert isinstance(made, Rule), made
    return made


def test_data_drives_an_led() -> None:
    engine = RuleEngine([rule("data", {"type": "porch.light", "state": "on"}, "led:status=blink")])
    assert engine.fire("data", {"type": "porch.light", "state": "on", "x": 1}, 0) == [ShowLed("status", "blink")]
    assert engine.fire("data", {"type": "porch.light", "state": "off"}, 0) == []
    assert engine.fire("data", {"type": "porch.light"}, 0) == []
    assert engine.fire("call", {"type": "porch.light", "state": "on"}, 0) == []


def test_dotted_paths_and_several_rules() -> None:
    engine = RuleEngine(
        [
            rule("data", {"light.on": True}, "relay:light=pulse"),
            rule("data", {}, "led:status=off"),
            rule("data", {"a.b": 1}, "led:status=blink"),
        ]
    )
    assert engine.fire("data", {"light": {"on": True}}, 0) == [PulseRelay("light"), ShowLed("status", "off")]
    assert engine.fire("data", {"light": {"on": 1}}, 0) == [ShowLed("status", "off")]
    assert engine.fire("data", {"light": 5}, 0) == [ShowLed("status", "off")]
    assert engine.fire("data", {"a.b": 1}, 0) == [ShowLed("status", "off"), ShowLed("status", "blink")]


def test_a_flood_is_cut() -> None:
    engine = RuleEngine([rule("presence", {"event": "joined"}, "relay:light=pulse")])
    fired = sum(len(engine.fire("presence", {"event": "joined"}, 0.0)) for _ in range(100))
    assert fired == 10
    assert engine.refused == 90
    assert engine.fire("presence", {"event": "joined"}, 60.0) == [PulseRelay("light")]


@pytest.mark.parametrize(
    ("on", "do", "says"),
    [
        ("date", "led:status=off", "on = 'date' is no kind of event: use data, presence, call, channel"),
        ("data", "chime:ding", "use led:NAME=PATTERN or relay:NAME=pulse"),
        ("data", "led:statu=off", "no LED is named 'statu': use status"),
        ("data", "led:status=rainbow", "'rainbow' is no LED pattern: use blink, off"),
        ("data", "relay:lamp=pulse", "no relay is named 'lamp': use door, light"),
        ("data", "relay:light=on", "write relay:light=pulse"),
        ("data", "relay:door=pulse", "a rule may not open a door"),
    ],
)
def test_what_is_wrong(on: str, do: str, says: str) -> None:
    problem = parse_rule(on, {}, do, OUTPUTS)
    assert isinstance(problem, str)
    assert says in problem


def test_what_is_wrong_without_outputs() -> None:
    assert parse_rule("data", {}, "led:status=off", Outputs()) == "no LED is named 'status': add a [[gpio.led]]"
    assert RuleEngine([]).fire("data", {}, 0) == []


def test_a_light_with_three_colours_may_be_told_one() -> None:
    outputs = Outputs(leds=["status"], patterns=["blink"])
    assert parse_rule("input", {}, "led:status=blink#ff8000", outputs) == Rule(
        "input", {}, ShowLed("status", "blink#ff8000")
    )
    assert "is no LED pattern" in str(parse_rule("input", {}, "led:status=blink#ff", outputs))
