"""The bench of the picture's quality runs."""

from __future__ import annotations

import json

import pytest

from tests.bench.quality.__main__ import ENCODERS, main
from tests.bench.quality.scenes import SCENES


def test_a_small_run_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rows"]) == 3 * len(ENCODERS) * len(SCENES)
    for row in found["rows"]:
        if row["unit"] == "dB":
            assert 25 < row["value"] < 60
        assert row["value"] > 0
