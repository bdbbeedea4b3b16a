"""Conversions between PCM formats."""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.int16]
"""Mono PCM: shape (frames,), int16."""
Floats = npt.NDArray[np.float32]
"""Mono samples in [-1, 1): shape (frames,), float32."""

RATE = 48_000
"""Samples per second of all PCM inside edge-node (the Opus clock, RFC 7587)."""
FULL_SCALE = 32768
HALF_WIDTH = 16
"""Zero crossings of the resampler's sinc on either side."""


def silence(frames: int) -> Pcm:
    """`frames` samples of nothing."""
    return np.zeros(frames, np.int16)


def saturate(samples: npt.NDArray[Any]) -> Pcm:
    """Rounds to int16, clipping what lies outside instead of wrapping it."""
    clipped: Pcm = np.rint(samples).clip(-FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return clipped


def to_float(pcm: Pcm) -> Floats:
    """int16 to [-1, 1)."""
    return pcm.astype(np.float32) / np.float32(FULL_SCALE)


def to_int16(samples: npt.NDArray[Any]) -> Pcm:
    """[-1, 1) to int16; louder samples saturate."""
    return saturate(samples * FULL_SCALE)


def mono(interleaved: Pcm, channels: int) -> Pcm:
    """Averages interleaved samples of shape (frames * channels,) to shape (frames,)."""
    if channels == 1:
        return interleaved
    if channels == 2:  # what comes of Opus; a quarter of the time of mean(), with its rounding: halves to even
        total = interleaved[::2].astype(np.int32) + interleaved[1::2]
        halved: Pcm = ((total + (total >> 1 & 1)) >> 1).astype(np.int16)
        return halved
    return saturate(interleaved.reshape(-1, channels).mean(axis=1, dtype=np.float64))


def stereo(pcm: Pcm) -> Pcm:
    """The same sound left and right, interleaved: shape (frames * 2,)."""
    return np.repeat(pcm, 2)


def add(a: Pcm, b: Pcm) -> Pcm:
    """The sum of two blocks of the same length, saturated."""
    return saturate(a.astype(np.int32) + b)


class Resampler:
    """Changes the sample rate of a stream by a polyphase windowed sinc; mono int16 in, mono int16 out.

    Delays by HALF_WIDTH samples of the slower rate. Over time exactly rate_out samples come out per rate_in that go in.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        common = gcd(rate_in, rate_out)
        self._up = rate_out // common
        self._down = rate_in // common
        # When going down, the filter's cut-off falls with the new Nyquist frequency, and it gets longer to match.
        stretch = max(1.0, rate_in / rate_out)
        self._taps = 2 * int(np.ceil(HALF_WIDTH * stretch))
        self._bank = _polyphase(self._up, self._taps, stretch)
        self._held = np.zeros(self._taps - 1, np.float32)
        self._position = 0
        """Where the next output lies, in 1/up input samples from the first sample that is new."""

    def push(self, pcm: Pcm) -> Pcm:
        """The next samples; gives as many as can be known by now."""
        if self._up == self._down or len(pcm) == 0:
            return pcm
        held = np.concatenate((self._held, pcm.astype(np.float32)))
        end = len(pcm) * self._up
        at = np.arange(self._position, end, self._down)
        self._position += len(at) * self._down - end
        self._held = held[len(pcm) :]
        first, phase = np.divmod(at, self._up)
        windows = np.lib.stride_tricks.sliding_window_view(held, self._taps)[first]
        return saturate(np.einsum("ij,ij->i", windows, self._bank[phase]))


def _polyphase(phases: int, taps: int, stretch: float) -> Floats:
    """One row of `taps` coefficients per output phase: shape (phases, taps), oldest input sample first."""
    offsets = np.arange(taps) - (taps // 2 - 1)
    distance = offsets[None, :] - np.arange(phases)[:, None] / phases
    window = np.cos(np.pi * distance / (taps + 2)) ** 2
    bank = np.sinc(distance / stretch) * window
    normed: Floats = (bank / bank.sum(axis=1, keepdims=True)).astype(np.float32)
    return normed
