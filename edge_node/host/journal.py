"""Logging as the place where it is read wants it."""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from edge_node.protocol.secrets import scrub

# sd-daemon(3): what <N> in front of a line means to the journal.
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.NOTSET, 7))
_READABLE = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "edge-node"
OWN = "edge_node."
# What a call gives as `extra` becomes a field: log.info(…, extra={"event": "peer.joined", "peer_id": …}).
_FIELDS = ("peer_id", "channel", "component", "call_id")
MAX_MESSAGE = 32_768
"""Characters: an entry fits into one datagram whatever the kernel's default buffer is."""
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


def message_id(event: str) -> str:
    """The MESSAGE_ID of a kind of event, the same in every version: UUID 5 (RFC 9562) of the URL edge-node:EVENT."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{IDENTIFIER}:{event}").hex


class JournalHandler(logging.Handler):
    """Entries with fields, by the journal's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL).

    It never waits: while the journal takes nothing, entries go to `instead` and are counted in `refused`.
    """

    def __init__(self, address: Path, instead: logging.Handler) -> None:
        super().__init__()
        self._address = str(address)
        self._instead = instead
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self.refused = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._socket.sendto(self._entry(record), self._address)
        except OSError:
            self.refused += 1
            self._instead.handle(record)
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()

    def _entry(self, record: logging.LogRecord) -> bytes:
        own = record.name.startswith(OWN)
        text = self.format(record)[:MAX_MESSAGE]
        fields = {
            "MESSAGE": text if own else f"{record.name}: {text}",
            "PRIORITY": str(next(number for level, number in _PRIORITIES if record.levelno >= level)),
            "SYSLOG_IDENTIFIER": IDENTIFIER,
            "LOGGER": record.name,
            "COMPONENT": record.name.split(".")[1] if own else record.name.split(".")[0],
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
            "CODE_FUNC": record.funcName or "",
        }
        event = getattr(record, "event", None)
        if event is not None:
            fields |= {"EDGE_NODE_EVENT": str(event), "MESSAGE_ID": message_id(str(event))}
        given = {name.upper(): getattr(record, name, None) for name in _FIELDS}
        fields |= {name: scrub(str(value)) for name, value in given.items() if value is not None}
        return b"".join(_field(name, value.encode(errors="replace")) for name, value in fields.items())


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def set_up(
    level: str = "info",
    env: Mapping[str, str] | None = None,
    stream: IO[str] | None = None,
    logger: logging.Logger | None = None,
    journal: Path = SOCKET,
) -> logging.Handler:
    """Sends the root logger's records to stderr; to the journal itself, with fields, where stderr is the journal.

    `level` is a value of the setting log.level. Called again it replaces what it did before.
    """
    stream = sys.stderr if stream is None else stream
    logger = logging.getLogger() if logger is None else logger
    handler: logging.Handler = logging.StreamHandler(stream)
    in_journal = is_journal(stream, os.environ if env is None else env)
    handler.setFormatter(JournalFormatter("%(name)s: %(message)s") if in_journal else ScrubbingFormatter(_READABLE))
    if in_journal and journal.exists():
        handler = JournalHandler(journal, handler)
        handler.setFormatter(ScrubbingFormatter("%(message)s"))
    handler.set_name(IDENTIFIER)
    for old in [one for one in logger.handlers if one.get_name() == IDENTIFIER]:
        logger.removeHandler(old)
        old.close()
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
