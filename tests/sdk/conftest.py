"""Writes the table of conformance rows and defects from what the tests found: test-output/conformance.md."""

from __future__ import annotations

from collections import defaultdict

import pytest

from tests.support.browser import output_folder
from tests.support.conformance import NO_TEST, labels, table, unshown

_found: dict[str, list[str]] = defaultdict(list)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or report.outcome != "passed":
        for label in labels(report.nodeid):
            _found[label].append(report.outcome)


def is_whole(config: pytest.Config) -> bool:
    """Every test of the project was asked for."""
    chosen = config.option.keyword or config.option.markexpr or config.option.deselect or config.option.ignore
    return config.args_source is pytest.Config.ArgsSource.TESTPATHS and not chosen


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if not _found or session.config.option.collectonly:
        return
    whole = is_whole(session.config)
    (output_folder() / "conformance.md").write_text(table(_found, whole=whole))
    # What this machine lacks may be skipped; what nobody wrote, or what was taken away, may not.
    if whole and exitstatus == pytest.ExitCode.OK and any(NO_TEST in line for line in unshown(_found)):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if _found and is_whole(config) and (missing := unshown(_found)):
        terminalreporter.section("conformance")
        terminalreporter.write_line("no test shows: " + ", ".join(missing), red=True)
