"""The playout buffer against networks that jitter, lose, reorder, repeat, stall and drift."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.dsp import delay_target, playout
from edge_node.dsp.concealment import DIES_AFTER, FADE, MS
from edge_node.dsp.level import dbfs, peak
from edge_node.dsp.pcm import RATE, Pcm, silence
from edge_node.dsp.playout import PlayoutBuffer
from edge_node.dsp.tone import Tone

PACKET = 20 * MS
BLOCK = 10 * MS
SEEDS = int(os.environ.get("EDGE_NODE_SEEDS", "1"))
"""How many ten-minute calls of each kind are simulated; the long version takes 24."""
LOUD = np.full(PACKET, 8000, np.int16)


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
    return [
        (n * 0.02 * (1 + ppm * 1e-6) + (dice.expovariate(1000 / mean_ms) if mean_ms else 0.0), n) for n in range(count)
    ]


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
    for k, at in ((1, 0.02), (0, 0.021), (2, 0.04), (2, 0.041), (3, 0.06)):
        buffer.push(k * PACKET, ramp(k * PACKET), at)
    heard = np.concatenate([buffer.pull(BLOCK, 0.2) for _ in range(6)])
    assert heard[FADE:].tolist() == ramp(FADE, 6 * BLOCK - FADE).tolist()
    assert buffer.stats().duplicates == 1


def test_a_packet_after_its_time_is_late() -> None:
    buffer = filled(5)
    for _ in range(4):
        buffer.pull(BLOCK, 0.1)
    buffer.push(0, ramp(0), 0.15)
    assert buffer.stats().late == 1


def test_a_lost_packet_is_concealed_and_costs_no_delay() -> None:
    tone = Tone(200, 0.3).block(RATE)
    buffer, heard = PlayoutBuffer(), []
    for step in range(100):
        n, odd = divmod(step, 2)
        if not odd and n != 20:
            buffer.push(n * PACKET, tone[n * PACKET : (n + 1) * PACKET], step / 100)
        heard.append(buffer.pull(BLOCK, step / 100))
    stats = buffer.stats()
    assert (stats.concealed, stats.gaps, stats.underruns, stats.late) == (PACKET, 1, 0, 0)
    assert stats.target_ms <= delay_target.START_MS
    sound = np.concatenate(heard).astype(np.int32)
    begin = int(np.flatnonzero(sound)[0])
    assert np.abs(np.diff(sound[begin : begin + 45 * PACKET])).max() < 600, "no click where it goes and returns"
    gap = sound[begin + 20 * PACKET : begin + 21 * PACKET].astype(np.int16)
    assert dbfs(gap) > dbfs(tone) - 6, "the voice goes on"


def test_a_gap_over_several_blocks_dies_away_once() -> None:
    lost = range(8, 14)
    _, heard = play([(n * 0.02, n) for n in range(30) if n not in lost], 0.6, LOUD)
    loud = [peak(block) for block in heard]
    begin = next(k for k, level in enumerate(loud) if level)
    gap = loud[begin + 16 : begin + 16 + DIES_AFTER // BLOCK]
    assert gap == sorted(gap, reverse=True)
    assert loud.count(0.0) >= 3
    assert loud[-1] > 0.2


def test_what_comes_too_late_is_held_against_the_network() -> None:
    arrivals = [(n * 0.02, n) for n in range(25)] + [(1.0 + n * 0.02, 25 + n) for n in range(50)]
    buffer, heard = play([(at, n) for at, n in arrivals], 2.0)
    stats = buffer.stats()
    assert stats.underruns == stats.gaps == 1
    assert stats.target_ms > 60
    quiet = [k for k, block in enumerate(heard) if not block.any()]
    assert any(k in quiet for k in range(60, 105))
    assert max(quiet) < 120, "sound again soon after packets came again"


def test_a_sender_that_was_silent_is_no_jitter() -> None:
    """Discontinuous transmission: the timestamps go on while nothing is sent."""
    arrivals = [(n * 0.02, n) for n in range(150) if n < 100 or n > 120]
    buffer, heard = play(arrivals, 2.9)
    stats = buffer.stats()
    assert (stats.underruns, stats.skips, stats.restarts) == (0, 0, 0)
    assert stats.target_ms <= 60
    assert peak(heard[-1]) > 0.2


def test_underrun_with_a_part_of_a_block_left_plays_that_part() -> None:
    buffer = PlayoutBuffer()
    for k in range(4):
        buffer.push(k * PACKET, LOUD if k < 3 else LOUD[:240], k * 0.02)
    blocks = [buffer.pull(BLOCK, 0.06 + k / 100) for k in range(14)]
    last = blocks[6].astype(np.int32)
    assert last[239] == 8000
    assert 7000 < last[-1] < 8000
    assert (np.diff(last[239:]) <= 0).all(), "then it dies away"
    assert not blocks[13].any()


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


@dataclass
class Call:
    """What ten minutes of a call were like; times in ms."""

    buffer: PlayoutBuffer
    gap_times_s: list[float] = field(default_factory=list)
    over_ms: list[float] = field(default_factory=list)
    """Per block: delay of what is played, from the moment it was sent, over the target."""
    targets_ms: list[float] = field(default_factory=list)

    def longest_over_s(self, limit_ms: float) -> float:
        longest = run = 0
        for over in self.over_ms:
            run = run + 1 if over > limit_ms else 0
            longest = max(longest, run)
        return longest / 100


def simulated(
    duration_s: float, mean_ms: float, ppm: float, seed: int, loss: float = 0.0, until_s: float = 0.0
) -> Call:
    """Exponential jitter, a sender whose clock is `ppm` slower, and a share of packets lost before until_s."""
    call = Call(PlayoutBuffer())
    dice = random.Random(seed)
    sent = jittery(duration_s, mean_ms, ppm, seed)
    waiting = sorted(((at, n) for at, n in sent if at > until_s or dice.random() >= loss), reverse=True)
    gaps = 0
    for step in range(int((duration_s - 2) * 100)):
        now = step / 100
        while waiting and waiting[-1][0] <= now:
            at, n = waiting.pop()
            call.buffer.push(n * PACKET, LOUD, at)
        playing = call.buffer.playing
        call.buffer.pull(BLOCK, now)
        target_ms = call.buffer.target / MS
        call.targets_ms.append(target_ms)
        if playing is not None:
            sent_at = playing / RATE * (1 + ppm * 1e-6)
            call.over_ms.append((now - sent_at) * 1000 - target_ms)
        if (found := call.buffer.gaps) != gaps:
            gaps = found
            call.gap_times_s.append(now)
    return call


@pytest.mark.parametrize("ppm", [0, 200, -200])
@pytest.mark.parametrize(("mean_ms", "gaps_at_most", "target_ms"), [(5, 1, (55, 80)), (20, 5, (150, 200))])
def test_ten_minutes_of_jitter_and_drift(
    mean_ms: float, gaps_at_most: int, target_ms: tuple[float, float], ppm: float
) -> None:
    """`EDGE_NODE_SEEDS=24 pytest tests/dsp/test_playout.py` is the long version."""
    for seed in range(1, SEEDS + 1):
        call = simulated(600, mean_ms, ppm, seed)
        stats = call.buffer.stats()
        assert len(call.gap_times_s) <= gaps_at_most, (seed, call.gap_times_s)
        assert stats.skips <= 1, seed
        assert target_ms[0] <= sum(call.targets_ms) / len(call.targets_ms) <= target_ms[1], seed
        assert call.longest_over_s(40) <= 2.0, seed
        assert stats.level_ms <= stats.target_ms + 40


@pytest.mark.parametrize("mean_ms", [0.5, 5.0])
@pytest.mark.parametrize("packet_ms", [10, 40, 60, 120])
def test_packets_of_any_length_leave_no_gaps(packet_ms: int, mean_ms: float) -> None:
    """Telephone gateways send 40 and 60 ms, browsers that save bandwidth up to 120 ms."""
    buffer, dice, frames = PlayoutBuffer(), random.Random(1), packet_ms * MS
    arrivals = [(n * packet_ms / 1000 + dice.expovariate(1000 / mean_ms), n) for n in range(60_000 // packet_ms)]
    waiting = sorted(arrivals, reverse=True)
    late_s = []
    for step in range(5800):
        now = step / 100
        while waiting and waiting[-1][0] <= now:
            at, n = waiting.pop()
            buffer.push(n * frames, np.full(frames, 8000, np.int16), at)
        buffer.pull(BLOCK, now)
        if buffer.playing is not None:
            late_s.append(now + packet_ms / 1000 - buffer.playing / RATE)
    assert buffer.gaps == 0
    assert buffer.stats().skips <= 1
    assert max(late_s[2000:]) * 1000 <= buffer.stats().target_ms + packet_ms + 10


def test_delay_is_the_same_after_loss_has_stopped() -> None:
    calm = simulated(40, 2, 0, 1)
    lossy = simulated(40, 2, 0, 1, loss=0.05, until_s=10)
    assert lossy.buffer.stats().concealed >= 10 * PACKET
    ends = [
        np.median([o + t for o, t in zip(c.over_ms[-500:], c.targets_ms[-500:], strict=True)]) for c in (calm, lossy)
    ]
    assert ends[1] <= ends[0] + 10


def test_drift_is_learnt_and_the_sound_stays_whole() -> None:
    call = simulated(300, 0, -200, 1)
    assert not call.gap_times_s
    assert call.buffer.stats().speed_ppm == pytest.approx(200, abs=120), "it breathes with the level's 20 ms saw"
    assert call.longest_over_s(20) == 0


def test_the_target_follows_the_network_both_ways() -> None:
    calm, _ = play([(n * 0.02, n) for n in range(5000)], 99)
    rough, _ = play(jittery(60, mean_ms=20), 59)
    wild, _ = play(jittery(20, mean_ms=200), 19)
    assert calm.stats().target_ms == delay_target.MIN_MS
    assert 150 < rough.stats().target_ms <= 200
    assert wild.stats().target_ms > 195


def test_a_stall_of_the_network_leaves_no_delay_behind() -> None:
    """Nothing for 0.5 s, then everything at once."""
    arrivals = [(n * 0.02 if n < 50 or n >= 75 else 1.5, n) for n in range(200)]
    buffer, _ = play(arrivals, 3.9, LOUD)
    stats = buffer.stats()
    assert stats.skips == 1
    assert stats.level_ms <= stats.target_ms + 30


def test_a_delay_that_stays_is_cut_after_a_second() -> None:
    """The path gets 60 ms shorter: what is held is 60 ms too much."""
    arrivals = [(n * 0.02 + (0.06 if n < 100 else 0.0), n) for n in range(400)]
    buffer, _ = play(arrivals, 7.9, LOUD)
    assert buffer.stats().skips == 1
    assert buffer.stats().level_ms < buffer.stats().target_ms + 30


def test_a_machine_that_is_held_up_now_and_then_does_not_hide_a_delay() -> None:
    """As before, but each 0.6 s a packet is handled 35 ms late: then less is held, for a moment."""
    sent = [(n * 0.02 + (0.06 if n < 100 else 0.0) + (0.035 if n % 30 == 0 else 0.0), n) for n in range(500)]
    buffer, waiting, over_ms = PlayoutBuffer(), sorted(sent, reverse=True), []
    for step in range(900):
        while waiting and waiting[-1][0] <= step / 100:
            at, n = waiting.pop()
            buffer.push(n * PACKET, LOUD, at)
        buffer.pull(BLOCK, step / 100)
        over_ms.append((buffer.level - buffer.target) / MS)
    assert sum(over_ms[500:]) / 400 < 20
    assert buffer.gaps == 0


def test_a_voice_is_stretched_without_a_gap_when_much_more_is_to_be_held() -> None:
    """Packets come less and less evenly while somebody speaks without a pause: same pitch, no click, no break."""
    tone = Tone(200, 0.3).block(10 * RATE)
    dice = random.Random(2)
    rough = sorted(((n * 0.02 + (dice.random() * 0.06 if n > 150 else 0.0), n) for n in range(450)), reverse=True)
    buffer, heard = PlayoutBuffer(), []
    for step in range(850):
        while rough and rough[-1][0] <= step / 100:
            at, n = rough.pop()
            buffer.push(n * PACKET, tone[n * PACKET : (n + 1) * PACKET], at)
        heard.append(buffer.pull(BLOCK, step / 100))
    stats = buffer.stats()
    assert stats.stretches >= 5
    assert stats.gaps <= 1, "the first packets of the rough time may be too late"
    assert stats.target_ms > 100
    assert stats.level_ms > 60
    sound = np.concatenate(heard).astype(np.int32)
    assert np.abs(np.diff(sound[RATE // 2 :])).max() < 900, "a sine of 200 Hz steps by 257 at most"


def test_in_quiet_moments_the_level_is_mended_at_once() -> None:
    hush = np.full(PACKET, 20, np.int16)
    longer = [(n * 0.02 + (0.03 if n < 300 else 0.0), n) for n in range(1000)]
    buffer, _ = play(longer, 19.9, hush)
    assert buffer.stats().skips == 0
    assert buffer.stats().level_ms < buffer.stats().target_ms + 30
    shorter = [(n * 0.02 + (0.018 if n >= 600 else 0.0), n) for n in range(1000)]
    buffer, heard = play(shorter, 19.9, hush)
    assert buffer.stats().gaps == 0
    assert buffer.stats().level_ms > buffer.stats().target_ms - 25
    assert all(len(block) == BLOCK for block in heard)


def test_rtp_timestamps_may_wrap() -> None:
    buffer = PlayoutBuffer()
    start = 2**32 - 2 * PACKET
    for n in range(4):
        buffer.push((start + n * PACKET) % 2**32, ramp(n * PACKET), n * 0.02)
    heard = np.concatenate([buffer.pull(BLOCK, 0.08) for _ in range(8)])
    assert heard[FADE:].tolist() == ramp(FADE, 8 * BLOCK - FADE).tolist()
    assert buffer.stats().restarts == 0


def test_a_sender_that_starts_over_is_followed() -> None:
    buffer = filled(4)
    buffer.pull(BLOCK, 0.08)
    for n in range(4):
        buffer.push(10_000_000 + n * PACKET, np.full(PACKET, 9000, np.int16), 0.1 + n * 0.02)
    heard = [buffer.pull(BLOCK, 0.16 + k / 100) for k in range(4)]
    assert heard[-1].tolist() == [9000] * BLOCK
    assert buffer.stats().restarts == 1


def test_timestamps_that_stand_still_are_not_believed() -> None:
    """A sender that never counts is heard nevertheless; the repeats before that are dropped."""
    heard, buffer = [], PlayoutBuffer()
    for step in range(400):
        if step % 2 == 0:
            buffer.push(777, LOUD, step / 100)
        heard.append(buffer.pull(BLOCK, step / 100))
    assert buffer.stats().duplicates >= playout.STANDING - 1
    assert all(peak(block) > 0.2 for block in heard[100:])


def test_timestamps_that_jump_back_a_little_start_a_new_timeline() -> None:
    buffer = PlayoutBuffer()
    for step in range(400):
        n = step // 2
        if step % 2 == 0:
            buffer.push(n * PACKET - (RATE if step > 200 else 0) + 10 * RATE, LOUD, step / 100)
        block = buffer.pull(BLOCK, step / 100)
    assert buffer.stats().restarts == 1
    assert peak(block) > 0.2


def test_timestamps_that_jump_ahead_are_followed_to_live() -> None:
    arrivals = [(n * 0.02, n + (60 if n >= 100 else 0)) for n in range(300)]
    buffer, heard = play(arrivals, 5.9, LOUD)
    assert peak(heard[-1]) > 0.2
    assert buffer.stats().level_ms <= buffer.stats().target_ms + 40


def test_an_empty_packet_is_nothing() -> None:
    buffer = PlayoutBuffer()
    buffer.push(0, silence(0), 0.0)
    assert (buffer.level, buffer.stats().received) == (0, 1)


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
    steady = slice(FADE, 20 * PACKET)
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
        assert buffer.stats().target_ms <= delay_target.MAX_MS
