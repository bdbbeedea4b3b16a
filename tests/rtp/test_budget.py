from __future__ import annotations

from edge_node.rtp.budget import CREDIT_BYTES, MAX_REMEMBERED, SHARE, Budget, Repeats, is_wanted


def spent(budget: Budget, size: int = 1000, asked: int = 10_000) -> int:
    return sum(size for _ in range(asked) if budget.spend(size))


def test_repairs_are_a_share_of_the_media() -> None:
    budget = Budget()
    assert spent(budget) == CREDIT_BYTES and budget.refused == 10_000 - CREDIT_BYTES // 1000
    total = 0
    for _ in range(300):
        budget.earn(8000, 2000.0, None)
        total += spent(budget, asked=100)
    assert 0.95 * SHARE <= total / (300 * 8000) <= SHARE


def test_a_path_that_carries_half_gets_half() -> None:
    wide, narrow = Budget(), Budget()
    for budget in (wide, narrow):
        spent(budget)
    wide.earn(40_000, 2000.0, 3000)
    narrow.earn(40_000, 2000.0, 1000)
    assert spent(wide) == 2 * spent(narrow) == 8000


def test_it_saves_no_more_than_a_second_of_its_share() -> None:
    budget = Budget()
    for _ in range(1000):
        budget.earn(8000, 2000.0, None)
    assert spent(budget) == 2000 * 125 * SHARE


def test_a_request_is_not_answered_twice_within_a_round_trip() -> None:
    repeats = Repeats()
    asked = [repeats.is_new(7, at, 0.1) for at in (0.0, 0.05, 0.079, 0.081, 0.1)]
    assert asked == [True, False, False, True, False] and repeats.suppressed == 3
    assert repeats.is_new(8, 0.1, 0.1)


def test_an_unknown_or_impossible_round_trip() -> None:
    for rtt, patience in ((None, 0.005), (-3.0, 0.005), (50.0, 0.8)):
        repeats = Repeats()
        assert repeats.is_new(1, 0.0, rtt)
        assert not repeats.is_new(1, patience * 0.9, rtt)
        assert repeats.is_new(1, patience * 1.1, rtt)


def test_what_a_keyframe_has_replaced_is_not_repaired() -> None:
    assert is_wanted(None, None) and is_wanted(0.1, 0.01) and is_wanted(0.5, 0.3)
    assert is_wanted(0.5, None), "the first seconds of a far path"
    assert not is_wanted(0.7, None) and not is_wanted(0.3, -1.0) and not is_wanted(2.1, 50.0)


def test_it_remembers_so_many() -> None:
    repeats = Repeats()
    assert all(repeats.is_new(number, 0.0, 1.0) for number in range(MAX_REMEMBERED + 1))
    assert repeats.is_new(0, 0.0, 1.0) and not repeats.is_new(MAX_REMEMBERED, 0.0, 1.0)
