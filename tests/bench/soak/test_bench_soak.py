"""A part of an hour in a node's life: what must hold holds. The whole: `python -m tests.bench soak --hours 12`."""

from __future__ import annotations

import json

import pytest

from tests.bench.soak.__main__ import main
from tests.bench.soak.schedule import CALM_S, HOUR_S, Kind, faults


def test_a_part_of_an_hour(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0, capfd.readouterr().out
    found = json.loads(capfd.readouterr().out)
    values = {row["name"]: row["value"] for row in found["rows"]}
    assert values["faults"] >= 5 and values["online, of the time it can be"] == 100
    assert values["came to the hub"] > values["starts of the node"], "with tokens, also after a fault"


def test_every_fault_comes_by_turns_and_every_hour_ends_in_calm() -> None:
    found = faults(12, seed=1)
    assert {fault.kind for fault in found[: len(Kind)]} == set(Kind)
    assert all((fault.at_s + fault.lasts_s) % HOUR_S <= HOUR_S - CALM_S + 1 for fault in found)
    assert found == faults(12, seed=1) != faults(12, seed=2)
