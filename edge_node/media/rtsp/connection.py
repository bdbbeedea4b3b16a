"""One RTSP connection: requests out, answers and interleaved packets in (RFC 2326)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import cast

from edge_node.media.rtsp.messages import (
    BadMessage,
    Headers,
    Interleaved,
    Parser,
    Request,
    Response,
    number,
    plain,
)
from edge_node.version import __version__

log = logging.getLogger(__name__)

PacketSink = Callable[[int, memoryview, float], None]
"""`on_packet(channel, packet, now)`: the packet lives until the call returns; `now` is when it arrived."""
_MAX_PENDING = 8
_MAX_UNREAD_BYTES = 65_536
_SERVER_MAY = frozenset({"OPTIONS", "GET_PARAMETER", "SET_PARAMETER"})


class ConnectionGone(Exception):
    """The connection ended; the text says how."""


class Connection(asyncio.BufferedProtocol):
    """An asyncio protocol whose owner awaits answers and learns by `wait_closed` that it is over."""

    def __init__(self, on_packet: PacketSink, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._on_packet = on_packet
        self._monotonic = monotonic
        self._parser = Parser()
        self._transport: asyncio.Transport | None = None
        self._cseq = 0
        self._pending: dict[int, asyncio.Future[Response]] = {}
        self._gone: Exception | None = None
        self._lost = asyncio.Event()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._parser.writable()

    def buffer_updated(self, nbytes: int) -> None:
        if self._gone is not None:
            return
        now = self._monotonic()
        try:
            for item in self._parser.wrote(nbytes):
                if isinstance(item, Interleaved):
                    self._on_packet(item.channel, item.payload, now)
                elif isinstance(item, Response):
                    self._answered(item)
                else:
                    self._asked(item)
        except BadMessage as err:
            self.fail(ConnectionGone(f"sent {err}"))
        except Exception as err:  # the owner's own mistake must reach the owner, not asyncio's log
            self.fail(err)

    def eof_received(self) -> None:
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self.fail(ConnectionGone("closed the connection" if exc is None else f"broke the connection ({exc})"))
        self._lost.set()

    # the owner's side

    @property
    def peer_host(self) -> str:
        """The numeric address of the server."""
        return self._address("peername")

    @property
    def own_host(self) -> str:
        """Our numeric address towards the server."""
        return self._address("sockname")

    def _address(self, which: str) -> str:
        name = self._transport.get_extra_info(which) if self._transport else None
        return str(name[0]) if name else ""

    def fail(self, why: Exception) -> None:
        """Ends the connection; the first reason is the one that waiters see."""
        if self._gone is None:
            self._gone = why
        for waiter in self._pending.values():
            if not waiter.done():
                waiter.cancel()
        self._pending.clear()
        if self._transport is not None:
            self._transport.abort()

    def send(self, method: str, url: str, headers: Headers = ()) -> asyncio.Future[Response]:
        """Writes a request; the future is cancelled when the connection ends. Raises ConnectionGone."""
        if self._gone is not None or self._transport is None:
            raise self._gone or ConnectionGone("is not connected")
        self._cseq += 1
        common = (("CSeq", str(self._cseq)), ("User-Agent", f"edge-node/{__version__}"))
        self._transport.write(Request(method, url, common + headers).encode())
        waiter: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        while len(self._pending) >= _MAX_PENDING:  # the oldest was never answered: nobody waits for it any more
            self._pending.pop(next(iter(self._pending))).cancel()
        self._pending[self._cseq] = waiter
        return waiter

    async def request(self, method: str, url: str, headers: Headers, timeout_s: float) -> Response:
        """One request and its answer. Raises TimeoutError, ConnectionGone, or what broke the connection."""
        waiter = self.send(method, url, headers)
        await asyncio.wait([waiter], timeout=timeout_s)
        if waiter.done() and not waiter.cancelled():
            return waiter.result()
        waiter.cancel()
        raise self._gone or TimeoutError(f"no answer to {method}")

    async def wait_closed(self, timeout_s: float) -> None:
        """Returns after timeout_s; raises the reason as soon as the connection is over."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._lost.wait()
        except TimeoutError:
            pass
        if self._gone is not None:
            raise self._gone

    async def close(self, timeout_s: float = 1.0) -> None:
        """Drops the connection and waits until asyncio has let go of it."""
        self.fail(ConnectionGone("was closed by us"))
        if self._transport is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._lost.wait()
        except TimeoutError:
            log.warning("an RTSP connection did not close within %g s", timeout_s)

    def _answered(self, response: Response) -> None:
        waiter = self._pending.pop(number(response.header("CSeq")) or 0, None)
        if waiter is None:
            log.debug("an answer to nothing that was asked: %d %s", response.status, plain(response.reason))
        elif not waiter.done():
            waiter.set_result(response)

    def _asked(self, request: Request) -> None:
        """Servers may ask too (RFC 2326 section 10): liveness questions get a yes, the rest a no."""
        status, reason = (200, "OK") if request.method in _SERVER_MAY else (501, "Not Implemented")
        log.debug("the server asked %s: %d", plain(request.method), status)
        answer = Response(status, reason, (("CSeq", plain(request.header("CSeq") or "0")),))
        if self._transport is None:
            return
        self._transport.write(answer.encode())
        if self._transport.get_write_buffer_size() > _MAX_UNREAD_BYTES:
            self.fail(ConnectionGone("asks without end and reads no answer"))
