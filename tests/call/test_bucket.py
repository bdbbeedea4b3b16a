"""Token buckets."""

from __future__ import annotations

from edge_node.call.bucket import Buckets, Rate


def test_a_burst_then_the_rate() -> None:
    buckets = Buckets(Rate(per_s=2, burst=3))
    assert [buckets.take("a", 0.0) for _ in range(5)] == [True, True, True, False, False]
    assert buckets.refused == 2
    assert [buckets.take("a", 0.5) for _ in range(2)] == [True, False]
    assert [buckets.take("a", 100.0) for _ in range(4)] == [True, True, True, False]


def test_keys_do_not_share() -> None:
    buckets = Buckets(Rate(per_s=1, burst=1))
    assert buckets.take("a", 0.0)
    assert buckets.take("b", 0.0)
    assert not buckets.take("a", 0.0)


def test_the_longest_quiet_key_is_forgotten_first() -> None:
    buckets = Buckets(Rate(per_s=0.001, burst=1), size=2)
    for key in ("a", "b", "c"):
        assert buckets.take(key, 0.0)
        assert len(buckets) <= 2
    assert not buckets.take("c", 0.0)
    assert buckets.take("a", 0.0)
