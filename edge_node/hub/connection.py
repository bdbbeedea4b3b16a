"""One client's WebSocket with its bounded, ordered outbound queue."""

from __future__ import annotations

import asyncio
import logging
import math
import struct
from collections import deque
from collections.abc import Awaitable, Callable

from aiohttp import WSMsgType, web

from edge_node.aio.tasks import cancel_and_wait
from edge_node.hub.config import LimitsConfig
from edge_node.protocol.names import MAX_MESSAGE_BYTES, WsCloseCode

log = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 2.0
"""How long a client may take to answer a close frame."""
FLUSH_TIMEOUT_S = 5.0
"""How long what was queued before a close may take to be written."""
# More than a frame may have, so that the machine can refuse it after reading it: a socket that is closed with bytes
# unread is reset (RFC 2525 section 2.17), and the client might not see the close code.
MAX_READ_BYTES = 4 * MAX_MESSAGE_BYTES
WRITE_BYTES = 65_536
"""Queued frames are written together up to about this size."""


def new_socket() -> web.WebSocketResponse:
    """An aiohttp socket whose pings, closes and sizes are ours to decide."""
    return web.WebSocketResponse(autoping=False, compress=False, max_msg_size=MAX_READ_BYTES, timeout=CLOSE_TIMEOUT_S)


def framed(text: bytes) -> bytes:
    """The frame of a whole text message from a server (RFC 6455 section 5.2): the same bytes for every receiver."""
    size = len(text)
    if size < 126:
        return struct.pack("!BB", 0x81, size) + text
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + text
    return struct.pack("!BBQ", 0x81, 127, size) + text


class Connection:
    """Reads and writes side by side in `serve`; writes in the order of `send`.

    While the client keeps up, a frame goes straight to the transport. Once the transport holds something back, frames
    queue behind it; `drain` waits until it takes more.

    Overflow rule: when the queue holds more than `queue_messages` or `queue_bytes`, the client is too slow: the queue
    is thrown away and the connection closes with 1008.
    """

    def __init__(
        self,
        conn: int,
        socket: web.WebSocketResponse,
        transport: asyncio.BaseTransport | None,
        drain: Callable[[], Awaitable[None]],
        limits: LimitsConfig,
    ) -> None:
        self.conn = conn
        self.thrown_away = 0
        """Messages it never got because it read too slowly."""
        self._socket = socket
        self._transport = transport if isinstance(transport, asyncio.WriteTransport) else None
        self._drain = drain
        self._limits = limits
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._wake = asyncio.Event()
        self._closing: tuple[int, str] | None = None
        self._sending: asyncio.Timeout | None = None
        self._heard_at = asyncio.get_running_loop().time()
        self._pinged_at = -math.inf

    @property
    def closing(self) -> bool:
        """True once the server has decided to end it."""
        return self._closing is not None

    @property
    def closing_code(self) -> int | None:
        """The code the server ends it with; None while it does not."""
        return self._closing[0] if self._closing else None

    @property
    def peer_code(self) -> int:
        """The code the client ended it with; 1006 when it went without a word (RFC 6455 section 7.1.5)."""
        return self._socket.close_code or 1006

    @property
    def depth(self) -> int:
        """Messages that wait to be written."""
        return len(self._queue)

    def send(self, frame: bytes) -> bool:
        """Writes or queues one message of framed(). False when the connection was too slow for it, and closes."""
        if self._closing is not None:
            return True
        transport = self._transport
        if not self._queue and transport is not None and not transport.get_write_buffer_size() and self._is_open:
            transport.write(frame)
            return True
        limits = self._limits
        if len(self._queue) >= limits.queue_messages or self._queued_bytes + len(frame) > limits.queue_bytes:
            self._give_up_sending()
            return False
        self._queue.append(frame)
        self._queued_bytes += len(frame)
        self._wake.set()
        return True

    @property
    def _is_open(self) -> bool:
        """True while data may be written: after a close frame, in either direction, there is none any more."""
        return self._transport is not None and not self._transport.is_closing() and not self._socket.closed

    def _give_up_sending(self) -> None:
        self.thrown_away += len(self._queue) + 1
        self._queue.clear()
        self._queued_bytes = 0
        self.close(WsCloseCode.POLICY_VIOLATION, "this client reads too slowly")
        if self._sending is not None and not self._sending.expired():
            self._sending.reschedule(0)  # the writer wakes with a TimeoutError

    def close(self, code: int, reason: str) -> None:
        """Closes after what is queued; the first call wins."""
        if self._closing is None:
            self._closing = (code, reason)
            self._wake.set()

    async def serve(self, received: Callable[[str | bytes], None]) -> None:
        """Hands over every message until either side ends it; returns when the socket is done with."""
        reader = asyncio.create_task(self._read(received), name=f"hub:reader {self.conn}")
        writer = asyncio.create_task(self._write(), name=f"hub:writer {self.conn}")
        try:
            await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
            if self._closing is not None:
                await asyncio.wait((writer,), timeout=FLUSH_TIMEOUT_S)
                # aiohttp waits for the client's answer to a close only while nobody else is receiving.
                await cancel_and_wait(reader)
                await self._say_goodbye(*self._closing)
        finally:
            await cancel_and_wait(reader)
            await cancel_and_wait(writer)
            self._release()
        for task in (reader, writer):
            if task.done() and not task.cancelled():
                task.result()

    async def _read(self, received: Callable[[str | bytes], None]) -> None:
        loop = asyncio.get_running_loop()
        while not self.closing:
            message = await self._socket.receive()
            if self._ping_is_out:
                self._wake.set()  # answered: the next check is later now
            self._heard_at = loop.time()
            match message.type:
                case WSMsgType.TEXT | WSMsgType.BINARY:
                    received(message.data)
                case WSMsgType.PING:
                    await self._socket.pong(message.data)
                case WSMsgType.PONG:
                    pass
                case _:
                    return

    async def _write(self) -> None:
        """Writes what is queued, pings a silent client; returns once a closing connection has nothing left."""
        try:
            while self._queue or self._closing is None:
                if not await self._alive():
                    log.info("connection %d is silent: given up", self.conn)
                    return self.abort()
                if self._queue:
                    await self._patiently(self._flush())
                else:
                    await self._rest()
        except (OSError, RuntimeError) as err:  # broken, or closed under our hands
            log.debug("connection %d broke: %r", self.conn, err)

    async def _flush(self) -> None:
        """Writes some of the queue; returns when the transport takes more."""
        if self._transport is None or not self._is_open:
            raise ConnectionResetError("closed")
        frames, size = [], 0
        while self._queue and size < WRITE_BYTES:
            frames.append(self._queue.popleft())
            size += len(frames[-1])
        self._queued_bytes -= size
        self._transport.write(b"".join(frames))
        await self._drain()

    async def _patiently(self, writing: Awaitable[None]) -> None:
        """Lets the client take its time with one write, but not for ever."""
        try:
            async with asyncio.timeout(self._limits.send_timeout_s) as self._sending:
                await writing
        except TimeoutError:
            self._give_up_sending()
        finally:
            self._sending = None

    @property
    def _ping_is_out(self) -> bool:
        return self._pinged_at > self._heard_at

    @property
    def _next_check_at(self) -> float:
        limits = self._limits
        return self._pinged_at + limits.ping_timeout_s if self._ping_is_out else self._heard_at + limits.ping_every_s

    async def _alive(self) -> bool:
        """Pings after a silence; False when that was not answered in time. Any frame is an answer."""
        now = asyncio.get_running_loop().time()
        if now < self._next_check_at:
            return True
        if self._ping_is_out:
            return False
        self._pinged_at = now
        await self._patiently(self._socket.ping())
        return True

    async def _rest(self) -> None:
        """Until there is something to write, or the next check is due."""
        self._wake.clear()
        try:
            async with asyncio.timeout_at(self._next_check_at):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _say_goodbye(self, code: int, reason: str) -> None:
        """The closing handshake; what a flooding client still sends is read and thrown away meanwhile."""
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S + 1):
                await self._socket.close(code=code, message=reason.encode(), drain=False)
        except (OSError, RuntimeError, TimeoutError) as err:
            log.debug("connection %d was gone before its close: %r", self.conn, err)
        self.abort()

    def _release(self) -> None:
        """A closed transport keeps its socket until a dead client has read everything: that is cut short."""
        if self._transport is not None and self._transport.get_write_buffer_size():
            self._transport.abort()

    def abort(self) -> None:
        """Cuts the connection without a word."""
        if self._transport is not None:
            self._transport.abort()
