"""A backlog is noticed once it stays, and a card that lies about it is left alone more and more."""

from __future__ import annotations

import math
from itertools import pairwise

from edge_node.dsp.backlog import LASTING, MAX_PAUSE, PAUSE, Backlog


def fired(waits: list[float]) -> list[int]:
    backlog = Backlog(0.05)
    return [at for at, waited_s in enumerate(waits) if backlog.feed(waited_s)]


def test_a_backlog_that_stays_for_a_second_is_one() -> None:
    assert fired([0.01] * 50 + [0.3] * (LASTING - 1) + [0.01] * 50) == []
    assert fired([0.3] * LASTING) == [LASTING - 1]


def test_what_cannot_be_is_not_believed() -> None:
    assert fired([math.inf, math.nan, -5.0] * LASTING) == []


def test_a_card_that_lies_is_started_anew_less_and_less_often() -> None:
    times = fired([0.3] * (4 * MAX_PAUSE))
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[:3] == [PAUSE, 2 * PAUSE, 4 * PAUSE]
    assert max(gaps) == MAX_PAUSE


def test_one_that_helped_may_help_again_soon() -> None:
    once = [0.3] * LASTING + [0.01] * LASTING
    assert fired(once * 5) == [LASTING - 1 + n * len(once) for n in range(5)]
