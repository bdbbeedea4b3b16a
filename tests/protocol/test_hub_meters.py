"""The hub's arithmetic on its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.bucket import Bucket
from edge_node.protocol.hub_meters import (
    FANOUT_BOUNDS,
    MIN_RETRY_MS,
    RETURNS_PER_S,
    Histogram,
    HubCounters,
    Quota,
    return_delays_ms,
)
from edge_node.protocol.names import RETRY_AFTER_CAP_MS


def test_a_thousand_clients_do_not_return_in_the_same_second() -> None:
    seconds = [delay // 1000 for delay in return_delays_ms(1000, None)]
    assert max(seconds.count(s) for s in seconds) <= RETURNS_PER_S
    assert return_delays_ms(1, None) == [MIN_RETRY_MS] and return_delays_ms(0, None) == []


@given(st.integers(0, 2000), st.none() | st.floats(0, 10_000))
def test_nobody_is_asked_back_too_early_or_later_than_clients_accept(count: int, spread_s: float | None) -> None:
    delays = return_delays_ms(count, spread_s)
    assert len(delays) == count and delays == sorted(delays)
    assert all(MIN_RETRY_MS <= delay <= RETRY_AFTER_CAP_MS for delay in delays)


def test_a_set_spread_is_used_evenly() -> None:
    assert return_delays_ms(4, 2) == [MIN_RETRY_MS, MIN_RETRY_MS + 500, MIN_RETRY_MS + 1000, MIN_RETRY_MS + 1500]


def test_a_bucket_never_holds_more_than_its_burst() -> None:
    bucket = Bucket(1, 2, 2, 0)
    assert [bucket.take(1000.0) for _ in range(3)] == [True, True, False]
    assert not bucket.take(990.0) and bucket.take(991.0)


def test_periods_follow_each_other_without_a_gap() -> None:
    quota = Quota(1, 10)
    assert quota.take(5) and not quota.take(14.9)
    assert quota.take(15) and quota.started_at == 15
    assert quota.take(58) and quota.started_at == 55, "silent periods are skipped"
    assert Quota(None, 10).over == 0


@pytest.mark.parametrize(("value", "place"), [(0, 0), (1, 1), (3, 3), (1000, 8), (1001, 9)])
def test_a_value_counts_below_the_next_bound(value: int, place: int) -> None:
    histogram = Histogram()
    histogram.add(value)
    assert histogram.counts.index(1) == place and len(histogram.counts) == len(FANOUT_BOUNDS) + 1


def test_a_direct_message_has_no_fanout() -> None:
    counters = HubCounters()
    counters.accepted("send", 1)
    counters.accepted("publish", 7)
    assert counters.fanout.total == 7 and sum(counters.fanout.counts) == 1
    assert counters.messages.total() == 2 and counters.copies == {"send": 1, "publish": 7}
