from __future__ import annotations

from edge_node.rtp.history import Burst, History
from edge_node.rtp.packetize import Cut


def burst(first: int, count: int, at: float, start: int = 0) -> Burst:
    return Burst(first, start, count, Cut([bytes([n]) for n in range(count)]), 0, b"", at, 1)


def test_packets_are_found_by_their_number_across_the_wrap() -> None:
    history = History()
    history.add(burst(65_530, 4, 0.0))
    history.add(burst(65_534, 4, 0.1))
    found = history.find(1)
    assert found is not None and found[0].first == 65_534 and found[1] == 3
    found = history.find(65_531)
    assert found is not None and found[0].first == 65_530 and found[1] == 1
    assert history.find(65_529) is None and history.find(2) is None and History().find(0) is None


def test_a_unit_may_leave_in_several_bursts() -> None:
    history = History()
    first, second = burst(100, 4, 0.0), burst(100, 9, 0.01, start=4)
    history.add(first)
    history.add(second)
    assert history.find(103) == (first, 3) and history.find(104) == (second, 4) and len(history) == 9


def test_a_number_that_was_skipped_is_not_found() -> None:
    history = History()
    history.add(burst(10, 2, 0.0))
    history.add(burst(20, 2, 0.0))
    assert history.find(15) is None


def test_it_is_bounded_in_time_and_number() -> None:
    history = History(max_packets=10, max_s=1.5)
    for number in range(4):
        history.add(burst(number, 1, number * 0.7))
    assert len(history) == 3 and history.find(0) is None and history.find(1) is not None
    for number in range(10, 40, 4):
        history.add(burst(number, 4, 3.0))
    assert len(history) == 8
    history.add(burst(100, 30, 3.0))
    assert len(history) == 30  # never empty after add()


def test_it_knows_what_left_after_a_number() -> None:
    history = History()
    for first, count, at, start in ((65_530, 4, 0.0, 0), (65_534, 2, 0.1, 0), (65_534, 6, 0.2, 2)):
        history.add(burst(first, count, at, start))
    assert history.beyond(65_533) == (6, 0.1, 0.0)
    assert history.beyond(65_534) == (5, 0.1, 0.1)
    assert history.beyond(1) == (2, 0.2, 0.2)
    assert history.beyond(3) == (0, None, 0.2)
    assert history.beyond(65_000) == (10, 0.0, None) and History().beyond(7) == (0, None, None)
