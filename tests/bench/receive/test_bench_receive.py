"""The bench of receiving runs."""

from __future__ import annotations

import json

import pytest

from tests.bench.receive.__main__ import main


def test_a_small_run_measures_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--json"]) == 0
    found = {row["name"]: row["value"] for row in json.loads(capsys.readouterr().out)["rows"]}
    for receiver in ("own", "stock"):
        assert found[f"{receiver}: sent again"] >= 0 and found[f"{receiver}: longest gap as sent"] > 0
        assert 0 <= found[f"{receiver}: broken pictures shown"] <= 100
        assert found[f"{receiver}: pictures"] > 0 and found[f"{receiver}: capture to decoded, p50"] > 0
