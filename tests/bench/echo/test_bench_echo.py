"""The bench of echo cancelling runs."""

from __future__ import annotations

import json

import pytest

from tests.bench.echo.__main__ import main


def test_a_small_run_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["rows"]) + 3 * len(found["not_measured"]) == 9
    assert all(row["value"] > 0 for row in found["rows"])
