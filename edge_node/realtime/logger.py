"""Where the clients write what they do."""

from __future__ import annotations

import logging
import re
from typing import Any, Protocol, runtime_checkable

_SECRETS = re.compile(r"(?i)\b((?:key|token|credential|password)=)[^&\s'\"]+|(a=ice-(?:pwd|ufrag):)\S+")


def scrub(text: str) -> str:
    """`text` without keys, tokens and ICE credentials."""
    return _SECRETS.sub(lambda m: f"{m[1] or m[2]}<hidden>", text)


@runtime_checkable
class Logger(Protocol):
    """What a program may hand in as `logger`."""

    def debug(self, msg: str, ctx: dict[str, Any] | None = None) -> None: ...
    def info(self, msg: str, ctx: dict[str, Any] | None = None) -> None: ...
    def warning(self, msg: str, ctx: dict[str, Any] | None = None) -> None: ...
    def error(self, msg: str, ctx: dict[str, Any] | None = None) -> None: ...


class NoopLogger:
    """Says nothing."""

    def debug(self, msg: str, ctx: dict[str, Any] | None = None) -> None: ...
    def info(self, msg: str, ctx: dict[str, Any] | None = None) -> None: ...
    def warning(self, msg: str, ctx: dict[str, Any] | None = None) -> None: ...
    def error(self, msg: str, ctx: dict[str, Any] | None = None) -> None: ...


class StdlibLogger:
    """Hands over to the standard library's logging; the default."""

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._log = logger if logger is not None else logging.getLogger("edge_node.realtime")

    def _write(self, level: int, msg: str, ctx: dict[str, Any] | None) -> None:
        if self._log.isEnabledFor(level):
            details = "".join(f" {key}={value}" for key, value in (ctx or {}).items())
            self._log.log(level, "%s%s", scrub(msg), scrub(details))

    def debug(self, msg: str, ctx: dict[str, Any] | None = None) -> None:
        self._write(logging.DEBUG, msg, ctx)

    def info(self, msg: str, ctx: dict[str, Any] | None = None) -> None:
        self._write(logging.INFO, msg, ctx)

    def warning(self, msg: str, ctx: dict[str, Any] | None = None) -> None:
        self._write(logging.WARNING, msg, ctx)

    def error(self, msg: str, ctx: dict[str, Any] | None = None) -> None:
        self._write(logging.ERROR, msg, ctx)
