"""The limit per address slides, and forgets."""

from __future__ import annotations

from edge_node.hub.limiter import AddressLimiter


def test_a_minute_slides() -> None:
    limiter = AddressLimiter(2)
    assert not limiter.full("a", 0)
    limiter.hit("a", 0)
    limiter.hit("a", 30)
    assert limiter.full("a", 59.9) and not limiter.full("b", 59.9)
    assert not limiter.full("a", 60)
    limiter.hit("a", 61)
    assert limiter.full("a", 62)


def test_memory_is_bounded() -> None:
    limiter = AddressLimiter(1, size=3)
    for index in range(100):
        limiter.hit(str(index), index)
        limiter.hit("busy", index)
    assert len(limiter) == 3 and limiter.full("busy", 100) and not limiter.full("1", 100)
