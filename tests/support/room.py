"""A room that is the same in every run: people who talk, a speaker whose sound comes back to the microphone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_node.dsp.pcm import FULL_SCALE, RATE, Pcm, to_int16
from edge_node.ports import BLOCK_FRAMES

Samples = npt.NDArray[np.float64]
VOWELS_HZ = ((730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410))
"""Formants of a, i, u, e, o (Peterson and Barney 1952)."""


def speech(duration_s: float, seed: int, pitch_hz: float = 120.0, level_dbfs: float = -20.0) -> Samples:
    """Syllables of voiced and hissing sounds with short pauses, like someone who talks on and on: in [-1, 1]."""
    rng = np.random.default_rng(seed)
    total = int(duration_s * RATE)
    out = np.zeros(total + RATE)
    at = 0
    while at < total:
        frames = int(RATE * rng.uniform(0.12, 0.3))
        syllable = _hiss(rng, frames) if rng.random() < 0.2 else _voiced(rng, frames, pitch_hz)
        out[at : at + frames] += syllable * np.hanning(frames) ** 0.5 * rng.uniform(0.5, 1.0)
        at += int(frames * 0.9) + (int(RATE * rng.uniform(0.1, 0.4)) if rng.random() < 0.2 else 0)
    out = out[:total]
    scaled: Samples = out * 10 ** (level_dbfs / 20) / np.sqrt(np.mean(out**2))
    return scaled.clip(-1.0, 1.0)


def _voiced(rng: np.random.Generator, frames: int, pitch_hz: float) -> Samples:
    pitch = pitch_hz * rng.uniform(0.85, 1.2) * np.linspace(1.0, rng.uniform(0.9, 1.1), frames)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    formants = VOWELS_HZ[int(rng.integers(len(VOWELS_HZ)))]
    out = np.zeros(frames)
    for harmonic in range(1, int(7000 / pitch.mean())):
        hz = harmonic * pitch.mean()
        gain = sum(0.5**n / (1 + ((hz - f) / (60 + 0.06 * f)) ** 2) for n, f in enumerate(formants)) + 0.003
        out += gain * np.sin(harmonic * phase + rng.uniform(0, 2 * np.pi))
    return _even(out + 0.02 * np.abs(out).max() * rng.standard_normal(frames))


def _hiss(rng: np.random.Generator, frames: int) -> Samples:
    noise = rng.standard_normal(frames)
    return 0.4 * _even(np.diff(noise, prepend=0.0))


def _even(sound: Samples) -> Samples:
    scaled: Samples = sound / np.sqrt(np.mean(sound**2))
    return scaled


@dataclass(frozen=True)
class Room:
    """`delay_ms` of buffers and air, then 200 ms of decaying reverberation; the echo is louder by `echo_db`."""

    delay_ms: float = 60.0
    echo_db: float = -6.0
    noise_dbfs: float = -60.0
    seed: int = 7

    def response(self) -> Samples:
        """What one click at the speaker becomes at the microphone."""
        rng = np.random.default_rng(self.seed)
        frames = int(0.2 * RATE)
        tail = rng.standard_normal(frames) * 10 ** (-3.0 * np.arange(frames) / frames)
        tail *= 10 ** (self.echo_db / 20) / np.sqrt(np.sum(tail**2))
        return np.concatenate((np.zeros(int(self.delay_ms * RATE / 1000)), tail))

    def echo(self, played: Samples) -> Samples:
        """What comes back of what is played, of the same length."""
        size = 1 << (len(played) + len(self.response())).bit_length()
        spectrum = np.fft.rfft(played, size) * np.fft.rfft(self.response(), size)
        return np.fft.irfft(spectrum, size)[: len(played)]

    def noise(self, frames: int) -> Samples:
        rng = np.random.default_rng(self.seed + 1)
        return 10 ** (self.noise_dbfs / 20) * rng.standard_normal(frames)


def blocks(sound: Samples) -> list[Pcm]:
    """Cut into blocks of 10 ms, 16 bit; what does not fill a block is left out."""
    pcm = to_int16(sound)
    return [pcm[at : at + BLOCK_FRAMES] for at in range(0, len(pcm) - BLOCK_FRAMES + 1, BLOCK_FRAMES)]


def samples(pcm: list[Pcm]) -> Samples:
    """Blocks joined, in [-1, 1]."""
    return np.concatenate(pcm).astype(np.float64) / FULL_SCALE


def power_db(sound: Samples, begin_s: float, end_s: float) -> float:
    """Mean power from begin_s to end_s, dB re full scale."""
    part = sound[int(begin_s * RATE) : int(end_s * RATE)]
    return float(10 * np.log10(np.mean(part**2) + 1e-12))
