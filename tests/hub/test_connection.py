"""One connection against a socket that misbehaves on command."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import WSMessage, WSMsgType

from edge_node.hub.config import LimitsConfig
from edge_node.hub.connection import Connection
from tests.support.waiting import eventually


class StubbornSocket:
    """An aiohttp WebSocketResponse as far as Connection uses it."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        self.sent: list[bytes] = []
        self.pings = 0
        self.pongs: list[bytes] = []
        self.closed_with: tuple[int, bytes] | None = None
        self.stuck = False
        self.broken = False

    async def receive(self) -> Any:
        return await self.incoming.get()

    async def send_frame(self, text: bytes, kind: WSMsgType) -> None:
        if self.broken:
            raise ConnectionResetError
        if self.stuck:
            await asyncio.Event().wait()
        self.sent.append(text)

    async def ping(self) -> None:
        self.pings += 1

    async def pong(self, data: bytes) -> None:
        self.pongs.append(data)

    async def close(self, *, code: int, message: bytes, drain: bool) -> None:
        self.closed_with = (code, message)
        if self.broken:
            raise RuntimeError("gone")

    def says(self, kind: WSMsgType, data: Any = None) -> None:
        self.incoming.put_nowait(WSMessage(kind, data, None))


def connection(socket: Any, **limits: Any) -> Connection:
    return Connection(1, socket, None, LimitsConfig.model_validate(limits))


async def serve(it: Connection, heard: list[Any] | None = None) -> None:
    async with asyncio.timeout(10):
        await it.serve((heard if heard is not None else []).append)


async def test_messages_pings_and_the_clients_close() -> None:
    socket, heard = StubbornSocket(), []  # type: ignore[var-annotated]
    socket.says(WSMsgType.TEXT, "one")
    socket.says(WSMsgType.PING, b"x")
    socket.says(WSMsgType.PONG)
    socket.says(WSMsgType.BINARY, b"two")
    socket.says(WSMsgType.CLOSE)
    await serve(connection(socket), heard)
    assert heard == ["one", b"two"] and socket.pongs == [b"x"] and socket.closed_with is None


async def test_what_was_queued_goes_out_before_the_close() -> None:
    socket = StubbornSocket()
    it = connection(socket)
    assert it.send(b"1") and it.send(b"2")
    it.close(4002, "over")
    it.close(1001, "later")
    assert it.send(b"3"), "after a close nothing more is taken, which is nobody's fault"
    await serve(it)
    assert socket.sent == [b"1", b"2"] and socket.closed_with == (4002, b"over")


async def test_a_full_queue_closes_at_once_even_while_a_send_is_stuck() -> None:
    socket = StubbornSocket()
    socket.stuck = True
    it = connection(socket, queue_messages=16)
    serving = asyncio.create_task(serve(it))
    await eventually(lambda: it._sending is not None or not it.send(b"x"))
    while it.send(b"x") and not it.closing:
        pass
    await serving
    assert socket.closed_with is not None and socket.closed_with[0] == 1008 and not it._queue


async def test_bytes_are_bounded_as_well() -> None:
    it = connection(StubbornSocket(), queue_bytes=1 << 20)
    assert it.send(b"x" * (1 << 20)) and not it.send(b"x") and it.closing


async def test_one_stuck_send_has_a_deadline() -> None:
    socket = StubbornSocket()
    socket.stuck = True
    it = connection(socket, send_timeout_s=0.05)
    it.send(b"x")
    await serve(it)
    assert socket.closed_with is not None and socket.closed_with[0] == 1008


async def test_a_broken_socket_ends_the_connection() -> None:
    socket = StubbornSocket()
    socket.broken = True
    it = connection(socket)
    it.send(b"x")
    await serve(it)
    assert socket.closed_with is None
    it.close(1001, "bye")
    await serve(it)
    assert socket.closed_with == (1001, b"bye"), "a close that fails is no error"


async def test_a_deaf_client_is_given_up_though_there_is_always_something_to_write() -> None:
    socket = StubbornSocket()
    it = connection(socket, ping_every_s=0.05, ping_timeout_s=0.05, queue_messages=65_536)
    serving = asyncio.create_task(serve(it))
    while not serving.done():
        it.send(b"x")
        await asyncio.sleep(0.001)
    assert socket.pings == 1


async def test_any_frame_answers_a_ping() -> None:
    socket = StubbornSocket()
    it = connection(socket, ping_every_s=0.05, ping_timeout_s=5)
    serving = asyncio.create_task(serve(it))
    for count in (1, 2, 3):
        await eventually(lambda: socket.pings >= count)  # noqa: B023
        socket.says(WSMsgType.TEXT, "here")
    socket.says(WSMsgType.CLOSE)
    await serving


async def test_a_bug_in_the_receiver_is_not_swallowed() -> None:
    socket = StubbornSocket()
    socket.says(WSMsgType.TEXT, "x")

    def fail(data: str | bytes) -> None:
        raise LookupError(data)

    try:
        await connection(socket).serve(fail)
    except LookupError:
        return
    raise AssertionError("the error was lost")
