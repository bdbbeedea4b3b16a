"""Logging: the journal's form, the person's form, no credential in either."""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_node.host.journal import is_journal, set_up


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    one = logging.Logger("edge_node.test")
    yield one
    for handler in list(one.handlers):
        one.removeHandler(handler)


def test_a_person_reads_time_level_and_name(logger: logging.Logger) -> None:
    stream = io.StringIO()
    set_up("info", {}, stream, logger)
    logger.info("the door rang %d times", 2)
    logger.debug("not this")
    text = stream.getvalue()
    assert "INFO    edge_node.test: the door rang 2 times" in text
    assert "not this" not in text


def test_the_journal_reads_priorities_and_every_line_has_one(logger: logging.Logger, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with path.open("w") as stream:
        status = os.fstat(stream.fileno())
        set_up("debug", {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, stream, logger)
        for level in ("debug", "info", "warning", "error", "critical"):
            getattr(logger, level)("one")
        try:
            raise RuntimeError("no more paper")
        except RuntimeError:
            logger.exception("printing failed")
    lines = path.read_text().splitlines()
    assert [line[:3] for line in lines[:5]] == ["<7>", "<6>", "<4>", "<3>", "<2>"]
    assert lines[0] == "<7>edge_node.test: one"
    assert all(line.startswith("<3>") for line in lines[5:])
    assert lines[-1] == "<3>RuntimeError: no more paper"


def test_credentials_are_scrubbed_from_text_arguments_and_tracebacks(logger: logging.Logger) -> None:
    stream = io.StringIO()
    set_up("info", {}, stream, logger)
    logger.info("connecting to %s", "wss://hub/v1?token=canary-1234")
    try:
        raise ValueError("refused pk_live_canary1234")
    except ValueError:
        logger.exception("no")
    assert "canary" not in stream.getvalue()
    assert "token=***" in stream.getvalue()


def test_a_second_set_up_replaces_the_first(logger: logging.Logger) -> None:
    first, second = io.StringIO(), io.StringIO()
    set_up("info", {}, first, logger)
    set_up("warning", {}, second, logger)
    logger.warning("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_libraries_are_quiet_unless_asked(logger: logging.Logger) -> None:
    set_up("info", {}, io.StringIO(), logger)
    assert logging.getLogger("aioice").level == logging.WARNING
    set_up("debug", {}, io.StringIO(), logger)
    assert logging.getLogger("aioice").level == logging.NOTSET


def test_only_the_stream_itself_is_the_journal(tmp_path: Path) -> None:
    with (tmp_path / "a").open("w") as stream:
        assert not is_journal(stream, {"JOURNAL_STREAM": "1:1"})
        assert not is_journal(stream, {})
    assert not is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:1"})


def test_the_defaults_are_stderr_and_the_root_logger(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    level = root.level
    handler = set_up("error")
    try:
        logging.getLogger("edge_node.somewhere").error("to stderr")
        assert "to stderr" in capsys.readouterr().err
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
