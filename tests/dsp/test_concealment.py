"""A gap sounds like the voice before it, and dies away."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp.concealment import DIES_AFTER, FADE, HISTORY, MS, Concealer
from edge_node.dsp.pcm import RATE, Pcm, silence, to_int16
from edge_node.dsp.tone import Tone

BLOCK = 10 * MS


def after(sound: Pcm) -> Concealer:
    concealer = Concealer()
    for start in range(0, len(sound), BLOCK):
        concealer.sound(sound[start : start + BLOCK])
    return concealer


def voice(hz: float, frames: int) -> Pcm:
    """A fundamental with overtones, as vowels have."""
    t = np.arange(frames) / RATE
    return to_int16(np.sum([0.3 / k * np.sin(2 * np.pi * k * hz * t) for k in (1, 2, 3, 5)], axis=0))


@pytest.mark.parametrize("hz", [90.0, 130.0, 210.0, 333.0])
def test_a_voice_goes_on_in_its_pitch_without_a_click(hz: float) -> None:
    whole = voice(hz, HISTORY + 4 * BLOCK)
    concealer = after(whole[: HISTORY + BLOCK])
    went_on = concealer.missing(BLOCK)
    should = whole[HISTORY + BLOCK : HISTORY + 2 * BLOCK].astype(np.float64)
    likeness = np.corrcoef(went_on, should)[0, 1]
    assert likeness > 0.9
    joint = np.abs(np.diff(np.concatenate((whole[: HISTORY + BLOCK], went_on)).astype(np.int32)))
    assert joint[-BLOCK - 2 :].max() < 1.5 * joint[: -BLOCK - 2].max()


@pytest.mark.parametrize("hz", [90.0, 130.0, 210.0, 333.0])
def test_whole_cycles_win_time_and_the_voice_goes_on_in_step(hz: float) -> None:
    whole = voice(hz, HISTORY + 6 * BLOCK)
    now = HISTORY + BLOCK
    concealer = after(whole[:now])
    more = concealer.prolonged(BLOCK)
    assert len(more) * hz / RATE == pytest.approx(round(len(more) * hz / RATE), abs=0.1), "whole cycles"
    going_on = concealer.sound(whole[now : now + 2 * BLOCK])
    should = np.concatenate((whole[now - len(more) : now], whole[now : now + 2 * BLOCK])).astype(np.float64)
    assert np.corrcoef(np.concatenate((more, going_on)), should)[0, 1] > 0.97
    steps = np.abs(np.diff(np.concatenate((whole[:now], more, going_on)).astype(np.int32)))
    assert steps[now - 2 :].max() < 1.5 * steps[: now - 2].max(), "no click where it is put in"
    assert len(concealer.prolonged(1)) > RATE / 500, "one cycle at least"
    assert len(concealer.prolonged(BLOCK)) >= len(more) // 2, "and more of them, with no sound between"


def test_it_is_silent_after_a_while_and_fades_in_again() -> None:
    concealer = after(Tone(200, 0.5).block(HISTORY + BLOCK))
    gone = np.concatenate([concealer.missing(BLOCK) for _ in range(DIES_AFTER // BLOCK)])
    quarters = [int(np.abs(part.astype(np.int32)).max()) for part in np.split(gone, 4)]
    assert quarters == sorted(quarters, reverse=True)
    assert not concealer.missing(BLOCK).any()
    back = concealer.sound(np.full(BLOCK, 8000, np.int16))
    assert back[0] == 0
    assert back[FADE - 1] == 8000


def test_the_beginning_fades_in_from_silence() -> None:
    concealer = Concealer()
    assert not concealer.missing(BLOCK).any()
    assert len(concealer.sound(silence(0))) == 0
    assert concealer.sound(np.full(BLOCK, 1000, np.int16))[0] == 0


@pytest.mark.parametrize("heard", [1, 7, 2 * FADE])
def test_with_little_to_go_by_it_still_goes_on(heard: int) -> None:
    concealer = after(np.full(heard, 5000, np.int16))
    went_on = concealer.missing(BLOCK)
    assert len(went_on) == BLOCK
    assert np.abs(went_on).max() <= 5000


def test_blocks_of_any_length_are_remembered_no_longer_than_needed() -> None:
    concealer = Concealer()
    for frames in [*range(1, 400), 5000]:
        concealer.sound(np.full(frames, 100, np.int16))
    assert len(concealer.missing(BLOCK)) == BLOCK
