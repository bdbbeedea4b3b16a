"""Mixing adds up without wrapping, limits softly, ducks under announcements."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp.level import dbfs, peak
from edge_node.dsp.mixer import CEILING, MAX_SOURCES, Glide, Mixer, gain_of, gained, mix
from edge_node.dsp.pcm import FULL_SCALE, RATE, Pcm
from edge_node.dsp.tone import Tone

BLOCK = RATE // 100
SHOUT = np.full(BLOCK, 30_000, np.int16)


def test_eight_shouting_people_clip_and_do_not_wrap() -> None:
    assert mix([SHOUT] * 8, BLOCK).tolist() == [32_767] * BLOCK


def test_opposite_sounds_cancel_before_clipping() -> None:
    loud = np.full(3, 30_000, np.int16)
    assert mix([loud, loud, -loud, -loud], 3).tolist() == [0, 0, 0]


def test_nobody_is_silence_and_short_or_long_blocks_fit() -> None:
    assert mix([], 3).tolist() == [0, 0, 0]
    one = np.ones(9, np.int16)
    assert mix([one[:2], one], 3).tolist() == [2, 2, 1]


def test_one_voice_goes_through_untouched() -> None:
    tone = Tone(440, 0.5).block(BLOCK)
    assert Mixer().mix([(tone, 1.0)], None, BLOCK).tolist() == tone.tolist()
    assert Mixer().mix([], None, BLOCK).tolist() == [0] * BLOCK


def test_a_loud_mix_is_turned_down_instead_of_clipped() -> None:
    mixer, tones = Mixer(), [Tone(200 + 37 * k, 0.5) for k in range(8)]
    mixed = [mixer.mix([(tone.block(BLOCK), 1.0) for tone in tones], None, BLOCK) for _ in range(50)]
    later = np.concatenate(mixed[1:])
    assert np.abs(later.astype(np.int32)).max() < 1.05 * CEILING, "but for the millisecond in which the gain falls"
    assert peak(later) > 0.85, "and no softer than it must be"
    jumps = np.abs(np.diff(np.concatenate(mixed).astype(np.int32)))
    assert jumps.max() < 8 * 0.5 * FULL_SCALE * 2 * np.pi * 460 / RATE, "no wrap-around: no step a sine could not make"


def test_after_a_shout_the_gain_comes_back() -> None:
    mixer, tone = Mixer(), Tone(440, 0.2)
    mixer.mix([(SHOUT, 1.0)] * 4, None, BLOCK)
    first = mixer.mix([(tone.block(BLOCK), 1.0)], None, BLOCK)
    for _ in range(300):
        last = mixer.mix([(tone.block(BLOCK), 1.0)], None, BLOCK)
    assert dbfs(first) < dbfs(last) - 6
    assert peak(last) == pytest.approx(0.2, abs=0.01)


def test_a_gain_for_all_of_it_is_limited_instead_of_clipped() -> None:
    tone = Tone(440, 0.1).block(BLOCK)
    assert dbfs(Mixer(gain_of(6)).mix([(tone, 1.0)], None, BLOCK)) == pytest.approx(dbfs(tone) + 6, abs=0.05)
    mixer = Mixer(gain_of(40))
    loud = [mixer.mix([(tone, 1.0)], tone, BLOCK) for _ in range(2)][-1]
    assert peak(loud) <= 1.05 * CEILING / FULL_SCALE


def test_a_louder_block_saturates() -> None:
    quiet = np.array([1000, -1000, 20_000, -20_000], np.int16)
    assert gained(quiet, 2.0).tolist() == [2000, -2000, 32_767, -32_768]
    assert gained(quiet, 1.0) is quiet


def test_gains_are_per_source() -> None:
    tone = Tone(440, 0.2).block(BLOCK)
    quiet = Mixer().mix([(tone, gain_of(-20))], None, BLOCK)
    assert dbfs(quiet) == pytest.approx(dbfs(tone) - 20, abs=0.1)
    assert gain_of(0) == 1.0


def test_of_nine_the_loudest_eight_are_heard() -> None:
    ones: list[tuple[Pcm, float]] = [(np.full(BLOCK, 100, np.int16), 1.0)] * MAX_SOURCES
    whisper = (np.full(BLOCK, 7, np.int16), 1.0)
    assert Mixer().mix([whisper, *ones], None, BLOCK)[0] == 100 * MAX_SOURCES


def test_voices_are_ducked_under_an_announcement_and_come_back() -> None:
    mixer, tone, hush = Mixer(), Tone(440, 0.2), np.zeros(BLOCK, np.int16)
    under = [mixer.mix([(tone.block(BLOCK), 1.0)], hush, BLOCK) for _ in range(2)][1]
    assert dbfs(under) == pytest.approx(dbfs(tone.block(BLOCK)) - 15, abs=1)
    assert mixer.mix([], np.full(9, 500, np.int16), BLOCK)[:10].tolist() == [500] * 9 + [0]
    for _ in range(400):
        after = mixer.mix([(tone.block(BLOCK), 1.0)], None, BLOCK)
    assert peak(after) == pytest.approx(0.2, abs=0.01)


def test_a_gain_never_steps() -> None:
    glide, gains = Glide(), []
    for wanted in [1.0, 0.2, 0.2, 0.1, *[1.0] * 300]:
        gains.append(np.broadcast_to(np.asarray(glide.towards(wanted, BLOCK)), BLOCK))
    assert np.abs(np.diff(np.concatenate(gains))).max() < 0.02
    assert gains[-1][-1] == 1.0
