"""Collects what the calls of the matrix did into one table."""

from __future__ import annotations

import pytest

from tests.support.browser import output_folder
from tests.support.interop_call import Outcome
from tests.support.interop_table import explained, table

OUTCOMES = pytest.StashKey[list[Outcome]]()


@pytest.fixture
def outcomes(request: pytest.FixtureRequest) -> list[Outcome]:
    """What was found so far in this run."""
    return request.config.stash.setdefault(OUTCOMES, [])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    found = config.stash.get(OUTCOMES, [])
    if not found:
        return
    path = output_folder() / "interop.md"
    path.write_text(table(found))
    terminalreporter.section("interop matrix")
    for line in explained(found):
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"{len(found)} calls, the table: {path}")
