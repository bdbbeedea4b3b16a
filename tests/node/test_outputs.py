"""Lights tell the node's state, relays obey only whom they should."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from edge_node.call.effects import CallView, Phase
from edge_node.call.indicator import Indicator
from edge_node.call.rules import Outputs as RuleOutputs
from edge_node.call.rules import Rule, RuleEngine, parse_rule
from edge_node.errors import DeviceMissing, UsageError
from edge_node.node.outputs import NodeOutputs
from tests.support.clock import ManualClock

PATTERNS = {indicator: indicator.value for indicator in Indicator}
RULE_OUTPUTS = RuleOutputs(leds=("status", "porch"), relays=("light", "door"), doors=("door",), patterns=("blink",))


class Panel:
    missing: Sequence[str] = ()

    def __init__(self) -> None:
        self.shown: list[tuple[str, str]] = []
        self.pulsed: list[tuple[str, int]] = []
        self.broken = False

    async def run(self, on_press: Callable[[str], None]) -> None: ...

    def show(self, led: str, pattern: str) -> None:
        if self.broken:
            raise UsageError("no such light")
        self.shown.append((led, pattern))

    def pulse(self, relay: str, pulse_ms: int) -> None:
        if self.broken:
            raise UsageError("no such relay")
        self.pulsed.append((relay, pulse_ms))


class Gate:
    def __init__(self) -> None:
        self.in_call = False
        self.muted = False

    def set_in_call(self, in_call: bool) -> None:
        self.in_call = in_call

    def set_muted(self, muted: bool) -> None:
        self.muted = muted


class Rig:
    def __init__(self, leds: tuple[str, ...] = ("porch", "status")) -> None:
        self.panel = Panel()
        self.gate = Gate()
        self.heard: list[frozenset[str]] = []
        rules = [
            parse_rule("data", {"type": "porch.light", "state": "on"}, "led:porch=blink", RULE_OUTPUTS),
            parse_rule("data", {"type": "gong"}, "relay:light=pulse", RULE_OUTPUTS),
        ]
        self.outputs = NodeOutputs(
            panel=self.panel,
            leds=leds,
            doors={"door": 3000, "light": 500},
            patterns=PATTERNS,
            rules=RuleEngine([rule for rule in rules if isinstance(rule, Rule)]),
            gates=[self.gate],
            allow_audio=self.heard.append,
            describe=lambda: {"id": "door"},
            clock=ManualClock(),
        )


def test_the_status_light_follows_the_state_and_shows_it_again_when_the_panel_returns() -> None:
    rig = Rig()
    rig.outputs.condition(fault=False, online=True, peers=0)
    assert rig.panel.shown == [], "no panel yet"
    rig.outputs.panel_ready()
    assert rig.panel.shown == [("status", "online")]
    rig.outputs.condition(fault=False, online=True, peers=2)
    rig.outputs.condition(fault=False, online=True, peers=3)
    rig.outputs.call_changed(CallView(Phase.ACTIVE, "c", "resident-a"))
    rig.outputs.call_changed(CallView(Phase.ACTIVE, "c", "resident-a", muted=True))
    assert rig.panel.shown[1:] == [("status", "somebody_here"), ("status", "in_call"), ("status", "private")]
    assert rig.gate.in_call and rig.gate.muted
    rig.outputs.panel_gone()
    rig.outputs.call_changed(CallView())
    assert not rig.gate.in_call
    rig.outputs.panel_ready()
    assert rig.panel.shown[-1] == ("status", "somebody_here")


def test_without_a_status_light_the_first_one_serves_and_without_lights_none() -> None:
    rig = Rig(("left", "right"))
    rig.outputs.panel_ready()
    rig.outputs.condition(fault=True, online=True, peers=0)
    assert rig.panel.shown[-1] == ("left", "fault")
    dark = Rig(())
    dark.outputs.panel_ready()
    dark.outputs.condition(fault=True, online=True, peers=0)
    assert dark.panel.shown == []
    assert dark.outputs.indicator is Indicator.FAULT


def test_rules_drive_lights_and_plain_relays_and_never_stop_the_node() -> None:
    rig = Rig()
    rig.outputs.panel_ready()
    rig.outputs.event("data", {"type": "porch.light", "state": "on"})
    rig.outputs.event("data", {"type": "gong"})
    assert rig.panel.shown == [("porch", "blink")]
    assert rig.panel.pulsed == [("light", 500)]
    rig.panel.broken = True
    rig.outputs.event("data", {"type": "porch.light", "state": "on"})
    rig.outputs.event("data", {"type": "gong"})
    assert rig.panel.pulsed == [("light", 500)]


def test_the_door_needs_a_panel() -> None:
    rig = Rig()
    with pytest.raises(DeviceMissing):
        rig.outputs.release_door("door")
    rig.outputs.panel_ready()
    rig.outputs.release_door("door")
    assert rig.panel.pulsed == [("door", 3000)]
    assert rig.outputs.describe() == {"id": "door"}
    rig.outputs.allow_audio(frozenset({"resident-a"}))
    assert rig.heard == [frozenset({"resident-a"})]
    seen: list[CallView] = []
    rig.outputs.on_call(seen.append)
    rig.outputs.call_changed(CallView())
    assert seen == [CallView()]


def test_a_light_named_privacy_tells_of_privacy_alone() -> None:
    rig = Rig(("privacy", "left"))
    rig.outputs.panel_ready()
    rig.outputs.condition(fault=False, online=True, peers=0)
    rig.outputs.call_changed(CallView(muted=True))
    rig.outputs.call_changed(CallView())
    assert rig.panel.shown == [
        ("privacy", "off"),
        ("left", "online"),
        ("privacy", "on"),
        ("left", "private"),
        ("privacy", "off"),
        ("left", "online"),
    ]
