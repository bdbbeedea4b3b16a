"""The built-in sounds are there, of one loudness, and do not click."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp.chimes import LOUDNESS, SOUNDS
from edge_node.dsp.level import peak
from edge_node.dsp.pcm import RATE
from edge_node.settings import checks


def test_the_settings_know_them() -> None:
    assert tuple(SOUNDS) == checks.SOUNDS


@pytest.mark.parametrize("name", SOUNDS)
def test_a_sound_is_as_it_should(name: str) -> None:
    pcm = SOUNDS[name]()
    assert 0.2 * RATE < len(pcm) < 6 * RATE
    assert peak(pcm) == pytest.approx(LOUDNESS, abs=0.01)
    assert abs(int(pcm[0])) < 50 and abs(int(pcm[-1])) < 50
    assert np.abs(np.diff(pcm.astype(np.int32))).max() < 0.4 * LOUDNESS * 32768
