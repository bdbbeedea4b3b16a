"""Writes the table of conformance rows and defects from what the tests found: test-output/conformance.md."""

from __future__ import annotations

import pytest

from tests.support.browser import output_folder
from tests.support.conformance import FOUND, NO_TEST, table, unshown


def is_whole(config: pytest.Config) -> bool:
    """Every test of the project was asked for."""
    chosen = config.option.keyword or config.option.markexpr or config.option.deselect or config.option.ignore
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not chosen


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if not FOUND or session.config.option.collectonly:
        return
    whole = is_whole(session.config)
    (output_folder() / "conformance.md").write_text(table(FOUND, whole=whole))
    # What this machine lacks may be skipped; what nobody wrote, or what was taken away, may not.
    if whole and exitstatus == pytest.ExitCode.OK and any(NO_TEST in line for line in unshown(FOUND)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if FOUND and is_whole(config) and (missing := unshown(FOUND)):
        terminalreporter.section("conformance")
        terminalreporter.write_line("no test shows: " + ", ".join(missing), red=True)
