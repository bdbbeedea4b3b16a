"""Samples that wait for the network."""

from __future__ import annotations

from edge_node.telemetry.ring import Ring
from edge_node.telemetry.sample import Sample, build


def sample(seq: int) -> Sample:
    return build(node="a", at=float(seq), seq=seq, uptime_s=0.0)


def drain(ring: Ring) -> list[int]:
    seqs = []
    while (first := ring.first()) is not None:
        assert first.late
        ring.sent(first)
        seqs.append(first.seq)
    return seqs


def test_comes_out_in_order_and_late() -> None:
    ring = Ring()
    for seq in range(3):
        ring.put(sample(seq))
    assert len(ring) == 3
    assert drain(ring) == [0, 1, 2]
    assert ring.first() is None


def test_the_oldest_is_dropped_first_and_counted() -> None:
    ring = Ring(size=2)
    for seq in range(5):
        ring.put(sample(seq))
    assert ring.dropped == 3
    assert drain(ring) == [3, 4]


def test_a_failed_send_loses_nothing() -> None:
    ring = Ring(size=2)
    ring.put(sample(0))
    assert ring.first() == ring.first()
    tried = ring.first()
    ring.put(sample(1))
    ring.put(sample(2))
    assert tried is not None
    ring.sent(tried)
    assert drain(ring) == [1, 2]
    ring.sent(tried)
