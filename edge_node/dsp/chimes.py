"""The sounds a door makes by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from edge_node.dsp.pcm import RATE, Floats, Pcm, silence, to_int16

LOUDNESS = 0.35
"""Peak of every sound here: -9 dBFS."""
EDGE_S = 0.01
"""Tones begin and end over this, without a click."""


def chime() -> Pcm:
    """Ding, dong: a falling major third, struck like a bell."""
    dong_at = int(0.45 * RATE)
    both = np.zeros(int(1.6 * RATE), np.float32)
    for at, hz in ((0, 659.26), (dong_at, 523.25)):
        both[at:] += _bell(hz, len(both) - at)
    return to_int16(both * LOUDNESS / np.abs(both).max())


def ringback() -> Pcm:
    """One second of 425 Hz, four of silence: what a caller in Europe hears (ITU-T E.180)."""
    return np.concatenate((_tone(425.0, 1.0), silence(4 * RATE)))


def beeps() -> Pcm:
    """Two short high tones: the time is nearly over."""
    return np.concatenate((_tone(1400.0, 0.15), silence(RATE // 10), _tone(1400.0, 0.15)))


SOUNDS: Mapping[str, Callable[[], Pcm]] = {"chime": chime, "ringback": ringback, "beeps": beeps}
"""The built-in sounds by the names they have in the settings."""


def _tone(hz: float, seconds: float) -> Pcm:
    t = np.arange(int(seconds * RATE)) / RATE
    edge = np.clip(np.minimum(t, t[::-1]) / EDGE_S, 0.0, 1.0)
    return to_int16(LOUDNESS * np.sin(2 * np.pi * hz * t) * edge)


def _bell(hz: float, frames: int) -> Floats:
    t = np.arange(frames) / RATE
    partials = ((1.0, 1.0, 2.5), (2.0, 0.5, 4.0), (3.01, 0.25, 7.0))
    struck = sum(share * np.exp(-decay * t) * np.sin(2 * np.pi * hz * ratio * t) for ratio, share, decay in partials)
    sound: Floats = (np.minimum(1.0, t / 0.003) * np.minimum(1.0, t[::-1] / 0.02) * struck).astype(np.float32)
    return sound
