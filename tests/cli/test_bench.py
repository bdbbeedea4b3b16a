"""The command `bench`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import edge_node
from edge_node.cli.main import main


def test_a_bench_runs_with_the_words_given(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "hub", "--quick", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["bench"] == "hub" and {"name": "clients", "value": 50}.items() <= found["rows"][0].items()


def test_a_bench_has_options_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "audio", "--only", "nothing"]) == 2
    assert "invalid choice: 'nothing'" in capfd.readouterr().err


def test_an_unknown_bench_is_named_with_its_alternatives(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "hbu"]) == 2
    told = capfd.readouterr().err
    assert told.startswith('there is no bench "hbu": choose from ') and "hub" in told


def test_without_a_checkout_it_says_so(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(edge_node, "__file__", str(tmp_path / "edge_node" / "__init__.py"))
    assert main(["bench", "hub"]) == 2
    assert "from a checkout" in capsys.readouterr().err
