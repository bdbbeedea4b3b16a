"""A sound that tells what speaker, room, microphone and canceller do, with the arithmetic that reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_node.dsp.level import dbfs
from edge_node.dsp.pcm import FULL_SCALE, RATE, Pcm, to_int16

Samples = npt.NDArray[np.float64]

QUIET_S = 1.0
CHIRP_S = 0.3
CHIRP_HZ = (300.0, 4000.0)
"""What small speakers can play and telephone ears can hear."""
CHIRP_LEVEL = 0.25
GAP_S = 0.7
"""Longer than any delay that one can talk with, and the room's ringing."""
NOISE_S = 5.0
NOISE_LEVEL = 0.1
MAX_DELAY_S = 2.0
"""Longer than anybody can talk with: it is to be told, not to be taken for deafness."""
SURE = 8.0
"""A peak this many times the root mean square of the correlation is the chirp's own."""
CLIPPED = FULL_SCALE - 64


@dataclass(frozen=True, slots=True)
class Heard:
    """What became of the sound: levels in dBFS, `delay_ms` None when the microphone did not hear the speaker.

    `loss_db` is what the way from speaker to microphone takes, `drift_ppm` by how much the microphone's clock is fast.
    """

    noise_dbfs: float
    level_dbfs: float
    delay_ms: float | None
    loss_db: float | None
    clipped_percent: float
    drift_ppm: float | None
    dead: bool
    """Nothing but zeros came."""


def chirp() -> Pcm:
    """A tone that rises evenly, faded at both ends."""
    frames = int(CHIRP_S * RATE)
    t = np.arange(frames) / RATE
    begin, end = CHIRP_HZ
    wave = np.sin(2 * np.pi * (begin * t + (end - begin) / (2 * CHIRP_S) * t**2))
    fade = np.minimum(1.0, np.minimum(np.arange(frames), np.arange(frames)[::-1]) / (0.02 * RATE))
    return to_int16(CHIRP_LEVEL * wave * fade)


def check_sound_pcm() -> Pcm:
    """Silence, a chirp, noise in the rhythm of syllables for the canceller to learn from, a chirp, silence."""
    rng = np.random.default_rng(1)
    frames = int(NOISE_S * RATE)
    white = np.fft.rfft(rng.standard_normal(frames))
    hz = np.fft.rfftfreq(frames, 1 / RATE)
    speechlike = np.fft.irfft(white / np.maximum(hz / 500.0, 1.0) * (hz > 150.0), frames)
    syllables = 0.25 + 0.75 * np.abs(np.sin(2 * np.pi * 2.0 * np.arange(frames) / RATE))
    noise = speechlike / np.sqrt(np.mean(speechlike**2)) * NOISE_LEVEL * syllables
    quiet, gap = (np.zeros(int(s * RATE), np.int16) for s in (QUIET_S, GAP_S))
    return np.concatenate((quiet, chirp(), gap, to_int16(noise), gap, chirp(), gap))


def examine(captured: Pcm, played: Pcm) -> Heard:
    """Reads what was recorded while `played`, which holds the test sound, was played; both of one length."""
    first, last = _chirps_in(played)
    delays = [_delay_frames(captured, at) for at in (first, last)]
    found = [delay for delay in delays if delay is not None]
    quiet = captured[max(0, first - int(QUIET_S * RATE * 0.8)) : first]
    part = captured[first + int(found[0]) : first + int(found[0]) + int(CHIRP_S * RATE)] if found else captured
    loud = float(np.mean(np.abs(captured.astype(np.int32)) >= CLIPPED))
    drift = (found[1] - found[0]) / (last - first) * 1e6 if len(found) == 2 else None
    return Heard(
        noise_dbfs=dbfs(quiet),
        level_dbfs=dbfs(part),
        delay_ms=found[0] * 1000.0 / RATE if found else None,
        loss_db=dbfs(chirp()) - dbfs(part) if found else None,
        clipped_percent=100.0 * loud,
        drift_ppm=drift,
        dead=not captured.any(),
    )


def _chirps_in(played: Pcm) -> tuple[int, int]:
    """Where both chirps begin in what was played."""
    whole = check_sound_pcm()
    first = int(QUIET_S * RATE)
    apart = len(whole) - int(GAP_S * RATE) - int(CHIRP_S * RATE) - first
    strength = np.abs(_correlation(played, chirp()))
    at = int(np.argmax(strength[: len(strength) - apart] + strength[apart:]))
    return at, at + apart


def _delay_frames(captured: Pcm, at: int) -> float | None:
    """When the chirp played at frame `at` came back, to a fraction of a sample; None when it did not."""
    window = captured[at : at + int((MAX_DELAY_S + CHIRP_S) * RATE)]
    if len(window) <= int(CHIRP_S * RATE):
        return None
    strength = np.abs(_correlation(window, chirp()))
    best = int(np.argmax(strength))
    if strength[best] < SURE * np.sqrt(np.mean(strength**2)) or not strength[best]:
        return None
    return best + _summit(strength, best)


def _summit(strength: Samples, best: int) -> float:
    """Where the top of a parabola through the largest value and its neighbours is, in samples from it."""
    if not 0 < best < len(strength) - 1:
        return 0.0
    before, at, after = strength[best - 1 : best + 2]
    return float(0.5 * (before - after) / (before - 2.0 * at + after))


def _correlation(sound: Pcm, pattern: Pcm) -> Samples:
    size = 1 << (len(sound) + len(pattern)).bit_length()
    spectrum = np.fft.rfft(sound.astype(np.float64), size) * np.conj(np.fft.rfft(pattern.astype(np.float64), size))
    return np.fft.irfft(spectrum, size)[: len(sound) - len(pattern) + 1]
