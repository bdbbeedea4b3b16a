from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from edge_node.rtp.reorder import HELD, HOLD_S, Reorder
from tests.support.property import patient


def numbers(window: Reorder[int], *given: int) -> list[list[int]]:
    return [window.push(n % 2**16, n, 0.0) for n in given]


def test_nothing_waits_when_nothing_is_missing() -> None:
    window: Reorder[int] = Reorder()
    assert numbers(window, 65534, 65535, 65536, 65537) == [[65534], [65535], [65536], [65537]]
    assert window.deadline is None and window.tick(9.0) == []


def test_two_in_the_wrong_order_are_put_right() -> None:
    window: Reorder[int] = Reorder()
    assert numbers(window, 1, 3, 2, 4) == [[1], [], [2, 3], [4]]
    assert (window.late, window.missing) == (0, 0)


def test_a_lost_one_is_not_waited_for_long() -> None:
    window: Reorder[int] = Reorder()
    assert numbers(window, 1, 3, 4, 2) == [[1], [], [3, 4], []]
    assert (window.late, window.missing) == (1, 1)
    assert window.push(6, 6, 5.0) == [] and window.push(6, 6, 5.0) == []
    assert window.deadline == 5.0 + HOLD_S and window.tick(5.0) == [] and window.tick(5.0 + HOLD_S) == [6]
    assert window.push(7, 7, 6.0) == [7]


def test_a_sender_that_starts_anew() -> None:
    window: Reorder[int] = Reorder()
    assert numbers(window, 1, 3, 30_000, 30_001, 5, 6) == [[1], [], [3, 30_000], [30_001], [5], [6]]


@patient
@given(seed=st.integers(0, 10_000), start=st.integers(0, 65_535))
def test_any_order_any_loss(seed: int, start: int) -> None:
    luck = random.Random(seed)
    sent = [n for n in range(start, start + 60) for _ in range(luck.choice((0, 1, 1, 1, 1, 2)))]
    sent.sort(key=lambda n: n + luck.choice((0, 0, 0, 0, 1.5, 3.5)))
    window: Reorder[int] = Reorder()
    given: list[int] = []
    for n in sent:
        given += window.push(n % 2**16, n, 0.0)
        assert len(window._held) < HELD
    given += window.tick(HOLD_S)
    assert given == sorted(set(given)) and window._held == {}
    assert len(given) + window.late == len(sent)
