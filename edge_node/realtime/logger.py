"""Where the clients write what they do."""

from __future__ import annotations

import logging
from typing import Any, Protocol, runtime_checkable

from edge_node.protocol.secrets import scrub


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


class ScrubbingLogger:
    """Hands over to a program's own logger what is left without secrets."""

    def __init__(self, logger: Logger) -> None:
        self._log = logger

    def debug(self, msg: str, ctx: dict[str, Any] | None = None) -> None:
        self._log.debug(scrub(msg), _scrubbed(ctx))

    def info(self, msg: str, ctx: dict[str, Any] | None = None) -> None:
        self._log.info(scrub(msg), _scrubbed(ctx))

    def warning(self, msg: str, ctx: dict[str, Any] | None = None) -> None:
        self._log.warning(scrub(msg), _scrubbed(ctx))

    def error(self, msg: str, ctx: dict[str, Any] | None = None) -> None:
        self._log.error(scrub(msg), _scrubbed(ctx))


def _scrubbed(ctx: dict[str, Any] | None) -> dict[str, Any] | None:
    if ctx is None:
        return None
    plain = (int, float, bool, type(None))
    return {key: value if isinstance(value, plain) else scrub(str(value)) for key, value in ctx.items()}


def logger_of(given: Logger | None) -> Logger:
    """The logger of a client: the program's own behind a mask, or the standard library's."""
    return StdlibLogger() if given is None else ScrubbingLogger(given)


def hide_secrets(logger: logging.Logger) -> logging.Logger:
    """`logger`, whose records lose their secrets; for a library that logs addresses or descriptions."""

    def mask(record: logging.LogRecord) -> bool:
        record.msg, record.args = scrub(record.getMessage()), ()
        return True

    logger.addFilter(mask)
    return logger
