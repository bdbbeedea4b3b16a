"""Levels read what a sound engineer expects."""

from __future__ import annotations

import numpy as np
import pytest

from edge_node.dsp.level import FLOOR_DBFS, Meter, dbfs, peak
from edge_node.dsp.pcm import silence
from edge_node.dsp.tone import Tone


def test_a_sine_reads_3_db_below_its_peak() -> None:
    assert dbfs(Tone(1000, 1.0).block(4800)) == pytest.approx(-3.01, abs=0.01)
    assert dbfs(Tone(1000, 0.1).block(4800)) == pytest.approx(-23.01, abs=0.01)


def test_silence_and_nothing_read_the_floor() -> None:
    assert dbfs(silence(480)) == FLOOR_DBFS
    assert dbfs(silence(0)) == FLOOR_DBFS
    assert dbfs(np.array([1] + [0] * 479, np.int16)) == FLOOR_DBFS


def test_peak_survives_the_most_negative_sample() -> None:
    assert peak(np.array([-32_768, 5], np.int16)) == 1.0
    assert peak(silence(0)) == 0.0


def test_the_meter_follows_within_its_time_constant() -> None:
    meter, tone = Meter(0.3), Tone(1000, 1.0)
    assert meter.dbfs == FLOOR_DBFS
    for _ in range(300):
        meter.feed(tone.block(480))
    assert meter.dbfs == pytest.approx(-3.01, abs=0.05)
    for _ in range(30):
        meter.feed(silence(480))
    assert meter.dbfs == pytest.approx(-3.01 - 4.34, abs=0.05), "0.3 s of silence is a factor e"
