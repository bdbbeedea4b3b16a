from __future__ import annotations

from edge_node.rtp.timeline import Timeline


def test_32_bits_start_over() -> None:
    timeline = Timeline()
    assert [timeline.map(t % 2**32) for t in (2**32 - 3000, 2**32, 2**32 + 3000)] == [0, 3000, 6000]
    assert timeline.map(0) == 3000


def test_a_sender_that_starts_anew() -> None:
    timeline = Timeline()
    timeline.map(5000)
    timeline.map(8000)
    timeline.restart(3000)
    assert [timeline.map(t) for t in (123_456, 126_456)] == [6000, 9000]
