"""The test sound is read rightly, whatever happened to it."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp.pcm import RATE, Pcm, saturate, silence
from edge_node.dsp.sound_check import CHIRP_LEVEL, check_sound_pcm, chirp, examine
from tests.support.room import Room, Samples

SOUND = check_sound_pcm()
PLAYED = np.concatenate((silence(12_345), SOUND, silence(RATE)))


def delayed(frames: int, gain: float = 0.5) -> Samples:
    return np.concatenate((np.zeros(frames), PLAYED[: len(PLAYED) - frames] * gain))


def noisy(sound: Samples, dbfs: float = -60.0) -> Pcm:
    return saturate(sound + Room(noise_dbfs=dbfs).noise(len(sound)) * 32768)


@pytest.mark.parametrize("delay_ms", [0, 5, 130, 400])
def test_delay_level_and_noise(delay_ms: int) -> None:
    heard = examine(noisy(delayed(delay_ms * 48)), PLAYED)
    assert heard.delay_ms == pytest.approx(delay_ms, abs=0.05)
    assert heard.loss_db == pytest.approx(6.0, abs=0.2)
    assert heard.noise_dbfs == pytest.approx(-60.0, abs=1.0)
    assert heard.drift_ppm == pytest.approx(0.0, abs=5.0)
    assert heard.clipped_percent == 0.0
    assert not heard.dead


@pytest.mark.parametrize("ppm", [-100.0, -10.0, -3.0, 3.0, 10.0, 100.0])
def test_drift(ppm: float) -> None:
    at = np.arange(len(PLAYED)) * (1 - ppm * 1e-6) - 2400
    slow = np.interp(at, np.arange(len(PLAYED)), PLAYED * 0.5)
    heard = examine(noisy(slow), PLAYED)
    assert heard.drift_ppm == pytest.approx(ppm, abs=0.5)


def test_a_delay_is_read_to_a_fraction_of_a_sample() -> None:
    shift = np.exp(-2j * np.pi * np.fft.rfftfreq(len(PLAYED)) * 240.3)
    heard = examine(noisy(np.fft.irfft(np.fft.rfft(PLAYED * 0.5) * shift, len(PLAYED))), PLAYED)
    assert heard.delay_ms is not None
    assert heard.delay_ms * 48.0 == pytest.approx(240.3, abs=0.05)


def test_clipping() -> None:
    heard = examine(saturate(delayed(480, 6.0)), PLAYED)
    assert heard.clipped_percent > 0.5
    assert heard.delay_ms == pytest.approx(10.0, abs=0.1)


@pytest.mark.parametrize("delay_ms", [650, 700, 1000, 1500, 1900])
def test_a_delay_that_nobody_can_talk_with_is_found_all_the_same(delay_ms: int) -> None:
    heard = examine(noisy(delayed(delay_ms * 48))[: 12_345 + len(SOUND)], PLAYED[: 12_345 + len(SOUND)])
    assert heard.delay_ms == pytest.approx(delay_ms, abs=0.05)
    assert heard.drift_ppm is None or abs(heard.drift_ppm) < 1.0, "the second chirp comes after the end"


def test_through_a_room() -> None:
    heard = examine(noisy(Room(60.0).echo(PLAYED.astype(np.float64))), PLAYED)
    assert heard.delay_ms == pytest.approx(60.0, abs=20.0), "the loudest of its reflections counts"
    assert heard.loss_db == pytest.approx(6.0, abs=4.0)


def test_nothing_is_heard() -> None:
    deaf = examine(noisy(np.zeros(len(PLAYED))), PLAYED)
    assert (deaf.delay_ms, deaf.loss_db, deaf.drift_ppm, deaf.dead) == (None, None, None, False)
    assert examine(silence(len(PLAYED)), PLAYED).dead


def test_a_recording_that_ends_early() -> None:
    cut = len(PLAYED) - 3 * RATE
    heard = examine(noisy(delayed(2400))[:cut], PLAYED)
    assert heard.delay_ms == pytest.approx(50.0, abs=0.05)
    assert heard.drift_ppm is None


def test_it_is_loud_enough_and_not_too_loud() -> None:
    assert np.abs(chirp()).max() == pytest.approx(CHIRP_LEVEL * 32768, rel=0.01)
    assert np.abs(SOUND.astype(np.int32)).max() < 30_000
    assert len(SOUND) / RATE == pytest.approx(8.7, abs=0.1)
