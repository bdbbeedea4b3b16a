"""The tone has its frequency and amplitude, and no step between its blocks."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp.level import peak
from edge_node.dsp.tone import Tone


def test_blocks_join_without_a_step() -> None:
    whole = Tone(440, 0.5).block(4800)
    tone = Tone(440, 0.5)
    assert np.abs(np.concatenate([tone.block(480) for _ in range(10)]) - whole).max() <= 1


def test_frequency_and_amplitude() -> None:
    sound = Tone(440, 0.25).block(48_000)
    assert int(np.argmax(np.abs(np.fft.rfft(sound)))) == 440
    assert peak(sound) == pytest.approx(0.25, abs=0.001)
