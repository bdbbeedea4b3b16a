"""Writes the table of conformance rows and defects from what the tests found: test-output/conformance.md."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROWS = range(1, 115)
DEFECTS = range(1, 36)
_ROW = re.compile(r"::test_row_((?:\d{3}_)+)")
_DEFECT = re.compile(r"::test_((?:d\d{2}_)+)")

_found: dict[str, list[str]] = defaultdict(list)


def labels(node_id: str) -> list[str]:
    """`row 7`, `D 5`, … for each number in a test's name."""
    names = [f"row {int(n)}" for m in _ROW.findall(node_id) for n in m.strip("_").split("_")]
    return names + [f"D {int(n[1:])}" for m in _DEFECT.findall(node_id) for n in m.strip("_").split("_")]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        for label in labels(report.nodeid):
            _found[label].append(report.outcome)


def _verdict(outcomes: list[str]) -> str:
    if "failed" in outcomes:
        return "fails"
    return "pass" if "passed" in outcomes else "skipped"


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not _found:
        return
    wanted = [f"row {n}" for n in ROWS] + [f"D {n}" for n in DEFECTS]
    lines = ["| what | result | tests |", "|---|---|---|"]
    lines += [f"| {name} | {_verdict(_found[name])} | {len(_found[name])} |" for name in wanted if name in _found]
    folder = Path(os.environ.get("EDGE_NODE_TEST_OUTPUT", session.config.rootpath / "test-output"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "conformance.md").write_text("\n".join(lines) + "\n")
