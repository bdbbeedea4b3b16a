"""PCM conversions saturate, keep their shape and resample without drift or images."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp import pcm
from edge_node.dsp.tone import Tone


def test_adding_loud_sounds_saturates_instead_of_wrapping() -> None:
    loud = np.full(4, 30_000, np.int16)
    assert pcm.add(loud, loud).tolist() == [32_767] * 4
    assert pcm.add(-loud, -loud).tolist() == [-32_768] * 4


def test_floats_there_and_back() -> None:
    block = np.array([-32_768, -1, 0, 1, 32_767], np.int16)
    assert pcm.to_int16(pcm.to_float(block)).tolist() == block.tolist()
    assert pcm.to_int16(np.array([2.0, -2.0])).tolist() == [32_767, -32_768]


def test_stereo_there_and_back() -> None:
    block = np.arange(5, dtype=np.int16)
    assert pcm.stereo(block).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert pcm.mono(pcm.stereo(block), 2).tolist() == block.tolist()
    assert pcm.mono(block, 1) is block
    assert pcm.mono(np.array([32_767, 32_767, -32_768, 32_767], np.int16), 2).tolist() == [32_767, 0]
    odd = np.array([1, 2, 3, 4, -1, -2, -3, -4, -32_768, -32_767], np.int16)
    assert pcm.mono(odd, 2).tolist() == [2, 4, -2, -4, -32_768], "halves go to the even one"
    assert pcm.mono(np.array([1, 2, 6, -3, 0, 0], np.int16), 3).tolist() == [3, -1]


@pytest.mark.parametrize(
    ("rate_in", "rate_out"),
    [(16_000, 48_000), (44_100, 48_000), (48_000, 44_100), (48_000, 16_000), (48_000, 22_050), (48_000, 48_000)],
)
def test_resampling_keeps_a_tone_and_the_duration(rate_in: int, rate_out: int) -> None:
    resampler = pcm.Resampler(rate_in, rate_out)
    tone = Tone(1000, 0.5, rate_in)
    out = np.concatenate([resampler.push(tone.block(rate_in // 100)) for _ in range(100)])
    assert len(out) == rate_out
    steady = pcm.to_float(out[rate_out // 10 :]).astype(np.float64)
    angle = 2 * np.pi * 1000 * np.arange(len(steady)) / rate_out
    basis = np.column_stack((np.sin(angle), np.cos(angle)))
    fit = np.linalg.lstsq(basis, steady, rcond=None)[0]
    noise = steady - basis @ fit
    assert np.hypot(*fit) == pytest.approx(0.5, rel=0.001)
    assert 10 * np.log10(np.mean(steady**2) / np.mean(noise**2)) > 60


def test_resampling_down_removes_what_would_alias() -> None:
    resampler = pcm.Resampler(48_000, 16_000)
    out = resampler.push(Tone(11_000, 0.5).block(48_000))
    assert np.abs(out[1000:-1000]).max() < 32


def test_resampling_does_not_depend_on_how_the_stream_is_cut() -> None:
    sound = Tone(700, 0.5, 44_100).block(4410)
    whole = pcm.Resampler(44_100, 48_000).push(sound)
    pieces = pcm.Resampler(44_100, 48_000)
    cut = np.concatenate([pieces.push(part) for part in np.split(sound, [1, 2, 2, 500, 501, 4000])])
    assert cut.tolist() == whole.tolist()
