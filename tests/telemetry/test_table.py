"""What monitor shows."""

from __future__ import annotations

from typing import Any

from edge_node.telemetry.sample import Sample, build
from edge_node.telemetry.table import Table


def sample(node: str = "a", **parts: Any) -> Sample:
    return build(node=node, at=1.0, seq=1, uptime_s=1.0, **parts)


def state_of(one: Sample, age_s: float = 0.0) -> str:
    table = Table()
    table.update(one, now=100.0)
    return table.rows(now=100.0 + age_s)[0].state


def test_states() -> None:
    assert state_of(sample()) == "idle"
    assert state_of(sample(call={"state": "idle"})) == "idle"
    assert state_of(sample(call={"state": "ringing"}, service={"degraded": ["mic"]})) == "ringing"
    assert state_of(sample(service={"degraded": ["mic"]})) == "degraded"


def test_stale_after_three_of_its_own_intervals() -> None:
    assert state_of(sample(interval_s=2.0), age_s=6.0) == "idle"
    assert state_of(sample(interval_s=2.0, call={"state": "active"}), age_s=6.1) == "stale"


def test_a_row_shows_the_worst_connection() -> None:
    table = Table()
    peers = [{"id": "x", "rtt_ms": 10, "loss_percent": None}, {"id": "y", "rtt_ms": 90, "loss_percent": 2}]
    table.update(sample(peers=peers, video={"viewers": 2}, host={"throttled": ["hot"]}), now=0.0)
    row = table.rows(now=1.5)[0]
    assert (row.rtt_ms, row.loss_percent, row.viewers, row.throttled, row.age_s) == (90, 2, 2, ("hot",), 1.5)
    table.update(sample(), now=2.0)
    assert table.rows(now=1.0)[0].rtt_ms is None
    assert table.rows(now=1.0)[0].age_s == 0.0


def test_rows_are_sorted_and_late_samples_are_history() -> None:
    table = Table()
    table.update(sample("b"), now=0.0)
    table.update(sample("a"), now=0.0)
    ring_sample = Sample(node="c", at=0.0, seq=0, uptime_s=0.0, late=True)
    table.update(ring_sample, now=0.0)
    assert [row.node for row in table.rows(now=0.0)] == ["a", "b"]


def test_bounded_by_dropping_the_node_unheard_of_for_longest() -> None:
    table = Table(max_nodes=2)
    for node in ("a", "b", "a", "c"):
        table.update(sample(node), now=0.0)
    assert [row.node for row in table.rows(now=0.0)] == ["a", "c"]
    assert table.dropped == 1
