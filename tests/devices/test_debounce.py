"""Presses, bounce, storms."""

from __future__ import annotations

from edge_node.devices.debounce import Edge, PressFilter


def edges(presses: PressFilter, *times: float) -> list[Edge]:
    """Alternating down and up edges; the verdicts on the down ones."""
    verdicts = [presses.edge(i % 2 == 0, t) for i, t in enumerate(times)]
    assert all(v is Edge.NOTHING for v in verdicts[1::2])
    return verdicts[::2]


def chatter(presses: PressFilter, start: float, seconds: float, per_s: int) -> list[Edge]:
    times = [start + i / (2 * per_s) for i in range(int(seconds * 2 * per_s))]
    return edges(presses, *times)


def test_a_press_counts_at_once() -> None:
    presses = PressFilter()
    assert presses.edge(True, 0.0) is Edge.PRESS


def test_bounce_is_one_press() -> None:
    presses = PressFilter()
    assert edges(presses, 0.0, 0.001, 0.002, 0.004, 0.006, 0.2) == [Edge.PRESS, Edge.NOTHING, Edge.NOTHING]
    assert edges(presses, 0.201, 0.203) == [Edge.NOTHING]
    assert edges(presses, 0.4, 0.5, 0.6, 0.7) == [Edge.PRESS, Edge.PRESS]


def test_a_quick_finger_is_no_storm() -> None:
    assert chatter(PressFilter(), 0.0, 5.0, 10) == [Edge.PRESS] * 50


def test_a_storm_is_cut_off_and_said_once() -> None:
    presses = PressFilter()
    verdicts = chatter(presses, 0.0, 60.0, 50)
    assert verdicts.count(Edge.STORM) == 1
    assert verdicts.count(Edge.PRESS) <= 20
    assert verdicts.index(Edge.STORM) == 20
    assert edges(presses, 62.0, 62.1) == [Edge.NOTHING]
    assert edges(presses, 66.0, 66.1) == [Edge.PRESS]
    assert chatter(presses, 70.0, 2.0, 50).count(Edge.STORM) == 1
