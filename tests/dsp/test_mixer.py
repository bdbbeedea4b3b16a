"""Mixing adds up without wrapping."""

from __future__ import annotations

import numpy as np

from edge_node.dsp.mixer import mix


def test_eight_shouting_people_clip_and_do_not_wrap() -> None:
    assert mix([np.full(480, 30_000, np.int16)] * 8, 480).tolist() == [32_767] * 480


def test_opposite_sounds_cancel_before_clipping() -> None:
    loud = np.full(3, 30_000, np.int16)
    assert mix([loud, loud, -loud, -loud], 3).tolist() == [0, 0, 0]


def test_nobody_is_silence_and_short_or_long_blocks_fit() -> None:
    assert mix([], 3).tolist() == [0, 0, 0]
    one = np.ones(9, np.int16)
    assert mix([one[:2], one], 3).tolist() == [2, 2, 1]
