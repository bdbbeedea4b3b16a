"""Who hears of the panel's contacts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_node.node.inputs import Inputs


def test_contacts_reach_rules_and_the_node_and_presses_do_not() -> None:
    events: list[Mapping[str, Any]] = []
    opened: list[tuple[str, bool]] = []
    inputs = Inputs(
        {"case": "tamper", "shutter": "switch"},
        lambda on, facts: events.append({"on": on, **facts}),
        {"tamper": lambda name, is_open: opened.append((name, is_open))},
    )
    for report in ("call", "call:long", "case:long", "nobody:on", "case:on", "shutter:off", "case:off"):
        inputs.report(report)
    assert opened == [("case", True), ("case", False)]
    assert events == [
        {"on": "input", "name": "case", "kind": "tamper", "state": "on"},
        {"on": "input", "name": "shutter", "kind": "switch", "state": "off"},
        {"on": "input", "name": "case", "kind": "tamper", "state": "off"},
    ]
