"""Which conformance row or defect a test shows, by the number in its name."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

ROWS = (*range(1, 115), *range(123, 159))
DEFECTS = range(1, 36)
WANTED = (*(f"row {n}" for n in ROWS), *(f"D {n}" for n in DEFECTS))
NO_TEST = "no test ran"
TESTS = Path(__file__).resolve().parent.parent
FOUND: dict[str, list[str]] = defaultdict(list)
"""Label → outcomes, of the tests of this run."""
_ROW = re.compile(r"\btest_row_((?:\d{3}_)+)")
_DEFECT = re.compile(r"\btest_((?:d\d{2}_)+)")


def labels(name: str) -> list[str]:
    """`row 7`, `D 5`, … for each number in the name of a test, or in its node id."""
    names = [f"row {int(n)}" for m in _ROW.findall(name) for n in m.strip("_").split("_")]
    return names + [f"D {int(n[1:])}" for m in _DEFECT.findall(name) for n in m.strip("_").split("_")]


def note(report: pytest.TestReport) -> None:
    """Keeps what a test came to."""
    if report.when == "call" or report.outcome != "passed":
        for label in labels(report.nodeid):
            FOUND[label].append(report.outcome)


def written() -> dict[str, list[str]]:
    """Label → the tests that carry it, in all files of tests/, whether or not they run here."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for label in labels(node.name):
                    found[label].append(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def verdict(outcomes: Sequence[str]) -> str:
    """`pass`, `fails`, `skipped`, or NO_TEST."""
    if "failed" in outcomes:
        return "fails"
    if "passed" in outcomes:
        return "pass"
    return "skipped" if outcomes else NO_TEST


def table(found: Mapping[str, Sequence[str]], *, whole: bool) -> str:
    """What was found as Markdown; of a whole run also the rows that no test showed."""
    labels = dict.fromkeys([*WANTED, *sorted(found, key=_order)]) if whole else sorted(found, key=_order)
    lines = ["| what | result | tests |", "|---|---|---|"]
    lines += [f"| {name} | {verdict(found.get(name, ()))} | {len(found.get(name, ()))} |" for name in labels]
    return "\n".join(lines) + "\n"


def unshown(found: Mapping[str, Sequence[str]]) -> list[str]:
    """The wanted rows for which no test passed, each with its verdict."""
    return [f"{name}: {verdict(found.get(name, ()))}" for name in WANTED if verdict(found.get(name, ())) != "pass"]


def _order(label: str) -> tuple[bool, int]:
    kind, number = label.split()
    return kind == "D", int(number)
