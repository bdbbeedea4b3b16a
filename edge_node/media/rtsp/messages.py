"""RTSP messages as values, with a parser of bounded memory (RFC 2326)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_HEAD_BYTES = 16_384
MAX_BODY_BYTES = 65_536
BUFFER_BYTES = 131_072
"""Larger than the largest item: head and body together, or an interleaved frame of 4 + 65 535 bytes."""
DEFAULT_SESSION_TIMEOUT_S = 60.0
"""RFC 2326 section 12.37."""

Headers = tuple[tuple[str, str], ...]

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_LINE_END = re.compile(r"\r?\n")
_STATUS_LINE = re.compile(r"RTSP/\d\.\d +(\d{3})(?: (.*))?")
_REQUEST_LINE = re.compile(r"([A-Z_]+) +(\S+) +RTSP/\d\.\d")
_DOLLAR, _BLANK = 0x24, b"\r\n"


class BadMessage(ValueError):
    """The bytes are not RTSP, or exceed a bound; the connection cannot go on."""


def _find(headers: Headers, name: str) -> list[str]:
    wanted = name.lower()
    return [value for key, value in headers if key.lower() == wanted]


def _print(first: str, headers: Headers, body: bytes) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    if any(c in line for line in lines for c in "\r\n\0"):
        raise BadMessage("a line break inside a header")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Request:
    """A request, from either side (RFC 2326 section 6)."""

    method: str
    url: str
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return next(iter(_find(self.headers, name)), None)

    def encode(self) -> bytes:
        """The bytes on the wire. Raises BadMessage when a value holds a line break."""
        return _print(f"{self.method} {self.url} RTSP/1.0", self.headers, self.body)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer (RFC 2326 section 7)."""

    status: int
    reason: str = ""
    headers: Headers = ()
    body: bytes = b""

    def header(self, name: str) -> str | None:
        """The first header of that name, in any case."""
        return next(iter(_find(self.headers, name)), None)

    def all(self, name: str) -> list[str]:
        """Every header of that name."""
        return _find(self.headers, name)

    def encode(self) -> bytes:
        """The bytes on the wire. Raises BadMessage when a value holds a line break."""
        return _print(f"RTSP/1.0 {self.status} {self.reason}", self.headers, self.body)


class Interleaved(NamedTuple):
    """One binary frame between messages (RFC 2326 section 10.12); `payload` lives until the next Parser.writable()."""

    channel: int
    payload: memoryview


Item = Request | Response | Interleaved


class Parser:
    """Finds messages and frames in a byte stream, inside one buffer that is never copied and never grows.

    Use: fill `writable()`, then read the items of `wrote(count)`. After BadMessage the stream is lost.
    """

    def __init__(self) -> None:
        self._buffer = bytearray(BUFFER_BYTES)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0

    def writable(self) -> memoryview:
        """Where the next bytes go: never empty. Ends the life of the payloads given out before."""
        if self._start:
            rest = self._end - self._start
            self._buffer[:rest] = self._buffer[self._start : self._end]
            self._start, self._end = 0, rest
        return self._view[self._end :]

    def wrote(self, count: int) -> list[Item]:
        """The items that are complete now. Raises BadMessage."""
        self._end += count
        buffer, view, at, end = self._buffer, self._view, self._start, self._end
        items: list[Item] = []
        while at < end:
            first = buffer[at]
            if first == _DOLLAR:
                if end - at < 4:
                    break
                done = at + 4 + (buffer[at + 2] << 8 | buffer[at + 3])
                if done > end:
                    break
                items.append(Interleaved(buffer[at + 1], view[at + 4 : done]))
                at = done
            elif first in _BLANK:  # stray line ends between messages are harmless
                at += 1
            else:
                message, done = self._message(at, end)
                if message is None:
                    break
                items.append(message)
                at = done
        self._start = at
        return items

    def _message(self, at: int, end: int) -> tuple[Request | Response | None, int]:
        buffer = self._buffer
        if not 0x41 <= buffer[at] <= 0x5A:
            raise BadMessage("bytes that are neither a message nor a frame")
        blank = _HEAD_END.search(buffer, at, min(end, at + MAX_HEAD_BYTES))
        if blank is None:
            if end - at >= MAX_HEAD_BYTES:
                raise BadMessage(f"a head of more than {MAX_HEAD_BYTES} bytes")
            return None, at
        first, headers = _head(bytes(self._view[at : blank.start()]))
        done = blank.end() + _body_length(headers)
        if done > end:
            return None, at
        return _build(first, headers, bytes(self._view[blank.end() : done])), done


def _head(raw: bytes) -> tuple[str, Headers]:
    first, *lines = _LINE_END.split(raw.decode("utf-8", "replace"))
    headers: list[tuple[str, str]] = []
    for line in lines:
        if line[:1] in (" ", "\t") and headers:  # a folded line continues the one before
            name, value = headers[-1]
            headers[-1] = (name, f"{value} {line.strip()}")
            continue
        name, colon, value = line.partition(":")
        if colon:  # cameras do send lines without one: they carry nothing
            headers.append((name.strip(), value.strip()))
    return first, tuple(headers)


def _body_length(headers: Headers) -> int:
    values = _find(headers, "Content-Length")
    if not values:
        return 0
    if not re.fullmatch("[0-9]{1,9}", values[0]) or int(values[0]) > MAX_BODY_BYTES:
        raise BadMessage(f"a Content-Length that is not a number up to {MAX_BODY_BYTES}")
    return int(values[0])


def _build(first: str, headers: Headers, body: bytes) -> Request | Response:
    if answer := _STATUS_LINE.fullmatch(first):
        return Response(int(answer[1]), answer[2] or "", headers, body)
    if asked := _REQUEST_LINE.fullmatch(first):
        return Request(asked[1], asked[2], headers, body)
    if first.startswith("HTTP/"):
        raise BadMessage("HTTP instead of RTSP")
    raise BadMessage("a first line that is not RTSP")


def number(text: str | None) -> int | None:
    """A decimal header value of up to nine digits, or None."""
    return int(text) if text is not None and re.fullmatch("[0-9]{1,9}", text.strip()) else None


def parse_session(value: str) -> tuple[str, float]:
    """The session id with its time-out in seconds, from a Session header (RFC 2326 section 12.37)."""
    name, _, rest = value.partition(";")
    for part in rest.split(";"):
        key, _, text = part.partition("=")
        if key.strip().lower() == "timeout" and (seconds := number(text)):
            return name.strip(), float(seconds)
    return name.strip(), DEFAULT_SESSION_TIMEOUT_S


def parse_transport(value: str) -> dict[str, str]:
    """The parameters of a Transport header's first choice; keys in lower case, flags with an empty value."""
    parts = value.split(",")[0].split(";")
    pairs = (part.partition("=") for part in parts)
    return {key.strip().lower(): text.strip() for key, _, text in pairs}


def parse_range(text: str | None) -> tuple[int, int] | None:
    """`0-1` as (0, 1); one number stands for itself and the next; None when it is neither."""
    low, _, high = (text or "").partition("-")
    first, second = number(low), number(high)
    if first is None:
        return None
    return first, second if second is not None else first + 1


def plain(text: str, limit: int = 80) -> str:
    """Text from the network for a log line or an error: printable, cut to `limit` characters."""
    return "".join(c if c.isprintable() else "?" for c in text)[:limit]


def allowed_methods(values: Sequence[str]) -> frozenset[str]:
    """The methods of Public headers (RFC 2326 section 12.28)."""
    return frozenset(name.strip().upper() for value in values for name in value.split(",") if name.strip())
