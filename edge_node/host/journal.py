"""Logging as the place where it is read wants it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import IO

from edge_node.protocol.secrets import scrub

# sd-daemon(3): what <N> in front of a line means to the journal.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))
_READABLE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
_CHATTY = ("aioice", "aiortc", "websockets", "aiohttp.access", "libav", "asyncio")


class ScrubbingFormatter(logging.Formatter):
    """A formatter whose whole output, traceback included, shows no credential."""

    def format(self, record: logging.LogRecord) -> str:
        return scrub(super().format(record))


class JournalFormatter(ScrubbingFormatter):
    """Lines with a priority prefix; a traceback's lines carry the same priority."""

    def format(self, record: logging.LogRecord) -> str:
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def set_up(
    level: str = "info",
    env: Mapping[str, str] | None = None,
    stream: IO[str] | None = None,
    logger: logging.Logger | None = None,
) -> logging.Handler:
    """Sends the root logger's records to stderr, in the journal's form where stderr is the journal.

    `level` is a value of the setting log.level. Called again it replaces what it did before.
    """
    stream = sys.stderr if stream is None else stream
    logger = logging.getLogger() if logger is None else logger
    handler = logging.StreamHandler(stream)
    in_journal = is_journal(stream, os.environ if env is None else env)
    handler.setFormatter(JournalFormatter("%(name)s: %(message)s") if in_journal else ScrubbingFormatter(_READABLE))
    handler.set_name("edge-node")
    for old in [one for one in logger.handlers if one.get_name() == "edge-node"]:
        logger.removeHandler(old)
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    quiet = logging.NOTSET if level == "debug" else logging.WARNING
    for name in _CHATTY:
        logging.getLogger(name).setLevel(quiet)
    return handler


def is_journal(stream: IO[str], env: Mapping[str, str]) -> bool:
    """True when $JOURNAL_STREAM names this very stream by device and inode (systemd.exec(5))."""
    try:
        here = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return env.get("JOURNAL_STREAM") == f"{here.st_dev}:{here.st_ino}"
