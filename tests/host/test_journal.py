"""Logging: the journal's form, the person's form, no credential in either."""

from __future__ import annotations

import io
import logging
import os
import socket
import struct
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_node.host.journal import MAX_MESSAGE, JournalHandler, is_journal, message_id, set_up


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


class Journal:
    """journald's socket, and stderr as systemd connects it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "socket"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.settimeout(10.0)
        self.stderr = (folder / "stderr").open("w+")
        status = os.fstat(self.stderr.fileno())
        self.env = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}

    def entry(self) -> dict[str, str]:
        data, fields = self._socket.recv(1 << 20), {}
        while data:
            name, _, data = data.partition(b"\n")
            if b"=" in name:
                key, _, value = name.partition(b"=")
            else:
                key, (size,) = name, struct.unpack("<Q", data[:8])
                value, data = data[8 : 8 + size], data[9 + size :]
            fields[key.decode()] = value.decode()
        return fields

    def close(self) -> None:
        self._socket.close()
        self.stderr.close()


@pytest.fixture
def journal(tmp_path: Path, logger: logging.Logger) -> Iterator[Journal]:
    one = Journal(tmp_path)
    set_up("info", one.env, one.stderr, logger, one.path)
    yield one
    for handler in logger.handlers:
        handler.close()
    one.close()


def test_entries_have_fields(journal: Journal, logger: logging.Logger) -> None:
    logger.warning("%s is here", "ada", extra={"event": "peer.joined", "peer_id": "ada", "channel": "home/door"})
    entry = journal.entry()
    assert entry["MESSAGE"] == "ada is here" and entry["PRIORITY"] == "4"
    assert entry["EDGE_NODE_EVENT"] == "peer.joined" and uuid.UUID(entry["MESSAGE_ID"])
    assert entry["MESSAGE_ID"] == message_id("peer.joined") != message_id("peer.left")
    assert (entry["PEER_ID"], entry["CHANNEL"]) == ("ada", "home/door")
    assert (entry["COMPONENT"], entry["LOGGER"]) == ("test", "edge_node.test")
    assert entry["CODE_FUNC"] == "test_entries_have_fields" and int(entry["CODE_LINE"]) > 0
    logger.error("the camera is gone", extra={"component": "camera"})
    entry = journal.entry()
    assert entry["COMPONENT"] == "camera" and "MESSAGE_ID" not in entry and "PEER_ID" not in entry


def test_a_traceback_is_one_entry_without_credentials(journal: Journal, logger: logging.Logger) -> None:
    try:
        raise ValueError("refused pk_live_canary1234")
    except ValueError:
        logger.exception("no", extra={"peer_id": "pk_live_canary1234\nMESSAGE=forged"})
    entry = journal.entry()
    assert "ValueError" in entry["MESSAGE"] and entry["MESSAGE"].startswith("no\n")
    assert not [value for value in entry.values() if "canary" in value]
    logger.info("x" * 10 * MAX_MESSAGE)
    assert len(journal.entry()["MESSAGE"]) == MAX_MESSAGE


def test_other_libraries_are_named(journal: Journal, logger: logging.Logger) -> None:
    logger.name = "aiortc.rtp"
    logger.warning("late")
    entry = journal.entry()
    assert entry["MESSAGE"] == "aiortc.rtp: late" and entry["COMPONENT"] == "aiortc"


def test_without_a_journal_the_lines_go_to_stderr(journal: Journal, logger: logging.Logger) -> None:
    journal.path.unlink()
    logger.warning("still here")
    journal.stderr.seek(0)
    assert journal.stderr.read() == "<4>edge_node.test: still here\n"
    (handler,) = logger.handlers
    assert isinstance(handler, JournalHandler) and handler.refused == 1


def test_a_wrong_call_is_no_end_of_logging(
    journal: Journal, logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    logger.info("%d", "no number")
    assert "Logging error" in capsys.readouterr().err
    logger.info("goes on")
    assert journal.entry()["MESSAGE"] == "goes on"
