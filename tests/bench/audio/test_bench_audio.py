"""The bench of sound runs, and what it measures with is right."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.bench.audio.__main__ import main
from tests.bench.audio.meter import PERIOD, RATE, chirp, delays_ms
from tests.support.pulse import why_not


@pytest.mark.parametrize("delay_ms", [0.0, 42.5, 700.0])
def test_the_meter_finds_chirps_in_noise(delay_ms: float) -> None:
    late = int(delay_ms * RATE / 1000)
    heard = np.random.default_rng(1).normal(0, 0.01, 5 * PERIOD)
    for number in (0, 1, 3):
        at = number * PERIOD + late
        heard[at : at + len(chirp())] += 0.1 * chirp()
    assert delays_ms(heard, 4) == pytest.approx([delay_ms] * 3, abs=0.1)
    assert delays_ms(heard, 9) == pytest.approx([delay_ms] * 3, abs=0.1), "a recording that ends early is enough"


def test_a_small_run_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    values = {row["name"]: row["value"] for row in found["rows"]}
    assert values["8 mixed"] > 0 and values["per talker"] > 0
    assert "ours: per listener" in values and "per connected talker" in values
    if why_not() is None:
        told = " ".join([*values, *found["not_measured"]])
        assert "ours: delay" in told and "ours: delay after loss" in told
    else:
        assert "delay: " in found["not_measured"][0]
