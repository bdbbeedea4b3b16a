"""Every conformance row and every defect has a test that carries its number."""

from __future__ import annotations

import pytest

from tests.support.conformance import WANTED, labels, table, unshown, verdict, written


def test_every_row_and_defect_has_a_test() -> None:
    found = written()
    assert [label for label in WANTED if label not in found] == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("tests/sdk/test_x.py::test_row_007_both_ways[a]", ["row 7"]),
        ("test_row_074_075_codes_that_end_everything", ["row 74", "row 75"]),
        ("test_d01_twenty_swaps", ["D 1"]),
        ("test_row_081_d34_names", ["row 81"]),
        ("test_row_7_too_short", []),
        ("test_rows_are_told", []),
    ],
)
def test_numbers_are_read_from_names(name: str, found: list[str]) -> None:
    assert labels(name) == found


def test_the_table_shows_what_is_missing_after_a_whole_run_only() -> None:
    found = {"row 1": ["passed", "passed"], "D 2": ["passed", "failed"], "row 120": ["skipped"]}
    part, whole = table(found, whole=False), table(found, whole=True)
    assert part.splitlines()[2:] == ["| row 1 | pass | 2 |", "| row 120 | skipped | 1 |", "| D 2 | fails | 2 |"]
    assert "| row 2 | no test ran | 0 |" in whole and "| row 120 | skipped | 1 |" in whole
    assert len(whole.splitlines()) == 2 + len(WANTED) + 1


def test_a_row_without_a_passing_test_is_told() -> None:
    found = {label: ["passed"] for label in WANTED} | {"row 5": ["skipped"], "D 3": ["passed", "failed"]}
    del found["row 9"]
    assert unshown(found) == ["row 5: skipped", "row 9: no test ran", "D 3: fails"]
    assert verdict(["passed", "skipped"]) == "pass"
