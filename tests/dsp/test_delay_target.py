"""The target follows what the network did, up at once and down slowly."""

from __future__ import annotations

from edge_node.dsp import delay_target
from edge_node.dsp.delay_target import DelayTarget
from edge_node.dsp.pcm import RATE

PACKET = RATE // 50


def fed(target: DelayTarget, packets: int, swing_ms: float = 0.0, start: int = 0) -> DelayTarget:
    for n in range(start, start + packets):
        now = n * 0.02 + (n % 2) * swing_ms / 1000
        target.measure(n * PACKET, now, PACKET)
        target.ease(now)
    return target


def test_it_starts_in_the_middle_and_a_calm_network_brings_it_down() -> None:
    target = DelayTarget()
    assert (target.ms, target.samples) == (delay_target.START_MS, int(delay_target.START_MS * RATE / 1000))
    fed(target, delay_target.TRUSTED_PACKETS - 1)
    assert target.ms >= delay_target.START_MS - 1
    fed(target, 3000, start=delay_target.TRUSTED_PACKETS)
    assert target.ms == delay_target.MIN_MS


def test_jitter_raises_it_within_seconds() -> None:
    target = fed(DelayTarget(), 200, swing_ms=15)
    assert 120 < target.ms < 180
    assert fed(DelayTarget(), 400, swing_ms=100).ms > 199


def test_late_packets_raise_it_step_by_step() -> None:
    target = fed(DelayTarget(), 2000)
    before = target.ms
    target.late(5)
    assert target.ms == before + 5
    for _ in range(20):
        target.late(1000)
    assert target.ms == delay_target.MAX_MS


def test_a_jump_of_the_timestamps_is_no_jitter() -> None:
    target = fed(DelayTarget(), 2000)
    before = target.ms
    target.measure(2000 * PACKET + RATE, 40.0, PACKET)
    assert target.ms < before + 20
    target.restart()
    target.measure(7, 40.02, PACKET)
    assert target.ms < before + 20


def test_time_that_goes_back_gives_nothing_back() -> None:
    target = fed(DelayTarget(), 2000, swing_ms=10)
    before = target.ms
    target.ease(0.0)
    assert target.ms == before
