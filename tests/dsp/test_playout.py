"""The playout buffer against networks that jitter, lose, reorder, repeat, stall and drift."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.dsp import playout
from edge_node.dsp.level import dbfs, peak
from edge_node.dsp.pcm import RATE, Pcm, silence
from edge_node.dsp.playout import MS, PlayoutBuffer
from edge_node.dsp.tone import Tone

PACKET = 20 * MS
BLOCK = 10 * MS


def ramp(start: int, frames: int = PACKET) -> Pcm:
    """Samples that tell where they come from."""
    return (np.arange(start, start + frames) % 20_000).astype(np.int16)


def filled(packets: int, now: float = 0.0) -> PlayoutBuffer:
    buffer = PlayoutBuffer()
    for k in range(packets):
        buffer.push(k * PACKET, ramp(k * PACKET), now + k * 0.02)
    return buffer


def play(
    arrivals: Sequence[tuple[float, int]], duration_s: float, pcm: Pcm | None = None
) -> tuple[PlayoutBuffer, list[Pcm]]:
    """Pushes packet n at its time of arrival, pulls every 10 ms."""
    buffer = PlayoutBuffer()
    pcm = pcm if pcm is not None else Tone(300, 0.3).block(PACKET)
    waiting = sorted(arrivals)
    waiting.reverse()
    heard = []
    for step in range(int(duration_s * 100)):
        now = step / 100
        while waiting and waiting[-1][0] <= now:
            at, n = waiting.pop()
            buffer.push(n * PACKET, pcm, at)
        heard.append(buffer.pull(BLOCK, now))
    return buffer, heard


def jittery(duration_s: float, mean_ms: float, ppm: float = 0.0, seed: int = 1) -> list[tuple[float, int]]:
    dice = random.Random(seed)
    count = int(duration_s / 0.02)
    return [(n * 0.02 * (1 + ppm * 1e-6) + dice.expovariate(1000 / mean_ms), n) for n in range(count)]


def test_silence_until_the_target_is_held_then_sound_in_order() -> None:
    buffer = PlayoutBuffer()
    assert not buffer.pull(BLOCK, 0.0).any()
    for k in range(2):
        buffer.push(k * PACKET, ramp(k * PACKET), k * 0.02)
        assert not buffer.pull(BLOCK, k * 0.02).any()
    buffer.push(2 * PACKET, ramp(2 * PACKET), 0.04)
    assert buffer.stats().level_ms == 60.0
    first = buffer.pull(BLOCK, 0.04)
    assert first[0] == 0, "it fades in"
    assert first[-1] == BLOCK - 1
    assert buffer.pull(BLOCK, 0.05).tolist() == ramp(BLOCK, BLOCK).tolist()


def test_a_single_short_packet_is_played_after_the_targets_time() -> None:
    buffer = filled(1, now=5.0)
    assert not buffer.pull(BLOCK, 5.05).any()
    assert buffer.pull(BLOCK, 5.07).any()


def test_reordered_packets_are_put_right_and_repeats_dropped() -> None:
    buffer = PlayoutBuffer()
    for k in (1, 0, 2, 2, 3):
        buffer.push(k * PACKET, ramp(k * PACKET), 0.0)
    heard = np.concatenate([buffer.pull(BLOCK, 0.1) for _ in range(6)])
    assert heard[playout.FADE :].tolist() == ramp(playout.FADE, 6 * BLOCK - playout.FADE).tolist()
    assert buffer.stats().duplicates == 1


def test_a_packet_after_its_time_is_late() -> None:
    buffer = filled(5)
    for _ in range(4):
        buffer.pull(BLOCK, 0.1)
    buffer.push(0, ramp(0), 0.15)
    assert buffer.stats().late == 1


def test_a_lost_packet_is_faded_over_and_costs_no_delay() -> None:
    pcm = np.full(PACKET, 8000, np.int16)
    buffer, heard = play([(n * 0.02, n) for n in range(50) if n != 20], 1.0, pcm)
    stats = buffer.stats()
    assert stats.concealed == PACKET
    assert stats.underruns == 0
    sound = np.concatenate(heard).astype(np.int32)
    begin = int(np.flatnonzero(sound)[0])
    assert np.abs(np.diff(sound[begin : begin + 45 * PACKET])).max() < 100, (
        "no click where it goes and where it returns"
    )
    gap = sound[begin + 19 * PACKET : begin + 23 * PACKET]
    assert np.count_nonzero(gap == 0) > 10 * MS


def test_a_gap_over_several_blocks_dies_away_once() -> None:
    _, heard = play([(n * 0.02, n) for n in range(20) if n not in (8, 9)], 0.4, np.full(PACKET, 8000, np.int16))
    loud = [peak(block) for block in heard]
    assert loud.count(0.0) >= 3
    assert loud[-1] > 0.2


def test_underrun_fades_to_silence_and_fills_up_again_with_more_margin() -> None:
    arrivals = [(n * 0.02, n) for n in range(25)] + [(1.0 + n * 0.02, 25 + n) for n in range(50)]
    buffer, heard = play(arrivals, 2.0)
    stats = buffer.stats()
    assert stats.underruns == 1
    assert stats.target_ms > 60
    quiet = [k for k, block in enumerate(heard) if not block.any()]
    assert any(k in quiet for k in range(60, 105))
    assert max(quiet) < 120, "sound again soon after packets came again"


def test_underrun_with_a_part_of_a_block_left_plays_that_part() -> None:
    buffer = PlayoutBuffer()
    buffer.push(0, np.full(60 * MS + 240, 8000, np.int16), 0.0)
    blocks = [buffer.pull(BLOCK, k / 100) for k in range(10)]
    last = blocks[6]
    assert last[0] == 8000
    assert last[239] == 8000
    assert last[-1] == 0
    assert not blocks[7].any()


def test_too_much_delay_is_cut_to_the_target_without_a_click() -> None:
    tone = np.full(PACKET, 8000, np.int16)
    buffer = PlayoutBuffer()
    for n in range(4):
        buffer.push(n * PACKET, tone, n * 0.02)
    buffer.pull(BLOCK, 0.08)
    for n in range(4, 30):
        buffer.push(n * PACKET, tone, 0.09)
    heard = np.concatenate([buffer.pull(BLOCK, 0.1) for _ in range(3)]).astype(np.int32)
    stats = buffer.stats()
    assert stats.skips == 1
    assert stats.level_ms <= stats.target_ms
    assert np.abs(np.diff(heard)).max() < 100


def test_nobody_pulling_keeps_the_newest_two_seconds() -> None:
    buffer = filled(500)
    stats = buffer.stats()
    assert stats.overflow == 500 - playout.MAX_PACKETS
    assert stats.level_ms == 2000.0
    buffer.pull(BLOCK, 10.0)
    assert buffer.stats().skips == 1


@pytest.mark.parametrize("ppm", [0, 100, -100, 500, -500])
def test_ten_minutes_of_jitter_and_drift_stay_near_the_target(ppm: float) -> None:
    buffer, _ = play(jittery(600, mean_ms=5, ppm=ppm), 598)
    stats = buffer.stats()
    assert stats.underruns <= 2
    assert stats.skips == 0
    assert 40 <= stats.target_ms <= 90
    assert stats.level_ms <= stats.target_ms + 40


def test_the_target_follows_the_network_both_ways() -> None:
    calm, _ = play([(n * 0.02, n) for n in range(500)], 9.9)
    rough, _ = play(jittery(60, mean_ms=20), 59)
    wild, _ = play(jittery(20, mean_ms=200), 19)
    assert calm.stats().target_ms == playout.MIN_TARGET_MS
    assert 100 < rough.stats().target_ms < 180
    assert wild.stats().target_ms == playout.MAX_TARGET_MS


def test_extra_delay_after_an_underrun_is_given_back() -> None:
    arrivals = [(n * 0.02, n) for n in range(25)] + [(1.0 + n * 0.02, 25 + n) for n in range(4000)]
    buffer, _ = play(arrivals, 80)
    assert buffer.stats().underruns == 1
    assert buffer.stats().target_ms < 45


def test_rtp_timestamps_may_wrap() -> None:
    buffer = PlayoutBuffer()
    start = 2**32 - 2 * PACKET
    for n in range(5):
        buffer.push((start + n * PACKET) % 2**32, ramp(n * PACKET), n * 0.02)
    heard = np.concatenate([buffer.pull(BLOCK, 0.1) for _ in range(8)])
    assert heard[playout.FADE :].tolist() == ramp(playout.FADE, 8 * BLOCK - playout.FADE).tolist()
    assert buffer.stats().restarts == 0


def test_a_sender_that_starts_over_is_followed() -> None:
    buffer = filled(4)
    buffer.pull(BLOCK, 0.08)
    for n in range(4):
        buffer.push(10_000_000 + n * PACKET, np.full(PACKET, 9000, np.int16), 0.1)
    heard = [buffer.pull(BLOCK, 0.11 + k / 100) for k in range(6)]
    assert heard[-1].tolist() == [9000] * BLOCK
    assert buffer.stats().restarts == 1


def test_an_empty_buffer_has_no_level() -> None:
    assert PlayoutBuffer().stats().level_ms == 0.0


def test_an_even_stream_is_played_untouched() -> None:
    tone = Tone(300, 0.3)
    sound = tone.block(RATE)
    buffer = PlayoutBuffer()
    heard = [silence(0)]
    for n in range(50):
        buffer.push(n * PACKET, sound[n * PACKET : (n + 1) * PACKET], n * 0.02)
        heard += [buffer.pull(BLOCK, n * 0.02), buffer.pull(BLOCK, n * 0.02 + 0.01)]
    played = np.concatenate(heard)
    begin = int(np.flatnonzero(played)[0]) - 1
    assert dbfs(played[begin:]) == pytest.approx(dbfs(sound), abs=0.2)
    steady = slice(playout.FADE, 20 * PACKET)
    assert played[begin:][steady].tolist() == sound[steady].tolist()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["push", "pull"]),
            st.integers(0, 2**32 - 1) | st.integers(0, 20_000),
            st.integers(1, 2000),
            st.floats(0, 0.5),
        ),
        max_size=60,
    )
)
def test_whatever_comes_a_block_of_the_right_length_goes(steps: list[tuple[str, int, int, float]]) -> None:
    buffer, now = PlayoutBuffer(), 0.0
    for what, pts, frames, later in steps:
        now += later
        if what == "push":
            buffer.push(pts, np.full(frames, 1000, np.int16), now)
        else:
            assert len(buffer.pull(frames, now)) == frames
        assert buffer.level >= 0
        assert buffer.stats().target_ms <= playout.MAX_TARGET_MS
