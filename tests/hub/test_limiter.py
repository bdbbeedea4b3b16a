"""The limit per address slides, and forgets."""

from __future__ import annotations

from edge_node.hub.limiter import AddressLimiter, party


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


def test_one_ipv6_host_is_one_party() -> None:
    limiter = AddressLimiter(2)
    assert limiter.take("2001:db8::1", 0) and limiter.take("2001:db8::ffff:1", 0)
    assert not limiter.take("2001:db8::2", 0) and limiter.take("2001:db8:0:1::1", 0)
    assert party("192.0.2.1") == "192.0.2.1" and party("no:address") == "no:address"
