"""One connection against a socket that misbehaves on command."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType

from edge_node.hub.config import LimitsConfig
from edge_node.hub.connection import WRITE_BYTES, Connection, framed
from tests.support.waiting import eventually


class StubbornTransport(asyncio.Transport):
    """Keeps what is written; holds everything back while it is stuck."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.held = 0
        self.writes = 0
        self.stuck = False
        self.gone = False
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes += 1
        self.written += bytes(data)
        self.held = len(self.written) if self.stuck else 0

    async def drain(self) -> None:
        if self.stuck:
            await asyncio.Event().wait()

    def get_write_buffer_size(self) -> int:
        return self.held

    def is_closing(self) -> bool:
        return self.gone

    def abort(self) -> None:
        self.aborted = True


class StubbornSocket:
    """An aiohttp WebSocketResponse as far as Connection uses it, with its transport."""

    def __init__(self) -> None:
        self.incoming: asyncio.Queue[Any] = asyncio.Queue()
        self.transport = StubbornTransport()
        self.pings = 0
        self.pongs: list[bytes] = []
        self.closed = False
        self.closed_with: tuple[int, bytes] | None = None

    async def receive(self) -> Any:
        return await self.incoming.get()

    async def ping(self) -> None:
        self.pings += 1

    async def pong(self, data: bytes) -> None:
        self.pongs.append(data)

    async def close(self, *, code: int, message: bytes, drain: bool) -> None:
        self.closed_with = (code, message)
        if self.transport.gone:
            raise RuntimeError("gone")

    def says(self, kind: WSMsgType, data: Any = None) -> None:
        self.incoming.put_nowait(WSMessage(kind, data, None))


def connection(socket: Any, **limits: Any) -> Connection:
    transport = socket.transport
    return Connection(1, socket, transport, transport.drain, LimitsConfig.model_validate(limits))


async def serve(it: Connection, heard: list[Any] | None = None) -> None:
    async with asyncio.timeout(30):
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


@pytest.mark.parametrize(
    ("size", "head"),
    [(0, "8100"), (125, "817d"), (126, "817e007e"), (65_535, "817effff"), (65_536, "817f0000000000010000")],
)
def test_a_frame_begins_with_its_size(size: int, head: str) -> None:
    assert framed(b"x" * size) == bytes.fromhex(head) + b"x" * size


async def test_a_frame_goes_out_at_once_while_the_client_keeps_up() -> None:
    socket = StubbornSocket()
    it = connection(socket)
    assert it.send(b"1") and socket.transport.written == b"1" and it.depth == 0


async def test_frames_wait_behind_what_the_transport_holds_back_and_go_out_together() -> None:
    socket = StubbornSocket()
    it = connection(socket)
    socket.transport.held = 1
    assert it.send(b"1") and it.send(b"2") and it.depth == 2
    socket.transport.held = 0
    assert it.send(b"3") and it.depth == 3, "never past the ones that wait"
    serving = asyncio.create_task(serve(it))
    await eventually(lambda: socket.transport.written == b"123")
    assert it.send(b"4") and socket.transport.written == b"1234" and socket.transport.writes == 2
    socket.says(WSMsgType.CLOSE)
    await serving


async def test_what_is_written_together_is_bounded() -> None:
    socket = StubbornSocket()
    it = connection(socket)
    socket.transport.held = 1
    for _ in range(5):
        it.send(b"x" * (WRITE_BYTES // 2))
    it.close(1001, "bye")
    await serve(it)
    assert socket.transport.writes == 3 and len(socket.transport.written) == 5 * WRITE_BYTES // 2


async def test_nothing_is_written_after_a_close_frame() -> None:
    socket = StubbornSocket()
    it = connection(socket)
    socket.closed = True
    assert it.send(b"x") and it.depth == 1
    await serve(it)
    assert not socket.transport.written


async def test_what_was_queued_goes_out_before_the_close() -> None:
    socket = StubbornSocket()
    it = connection(socket)
    socket.transport.held = 1
    assert it.send(b"1") and it.send(b"2")
    it.close(4002, "over")
    it.close(1001, "later")
    assert it.send(b"3"), "after a close nothing more is taken, which is nobody's fault"
    await serve(it)
    assert socket.transport.written == b"12" and socket.closed_with == (4002, b"over")


async def test_a_full_queue_closes_at_once_even_while_a_send_is_stuck() -> None:
    socket = StubbornSocket()
    socket.transport.stuck = True
    it = connection(socket, queue_messages=16)
    serving = asyncio.create_task(serve(it))
    await eventually(lambda: it._sending is not None or not it.send(b"x"))
    while it.send(b"x") and not it.closing:
        pass
    await serving
    assert socket.closed_with is not None and socket.closed_with[0] == 1008 and not it.depth
    assert socket.transport.aborted, "or the socket would live until a dead client has read everything"


async def test_bytes_are_bounded_as_well() -> None:
    socket = StubbornSocket()
    socket.transport.held = 1
    it = connection(socket, queue_bytes=1 << 20)
    assert it.send(b"x" * (1 << 20)) and not it.send(b"x") and it.closing


async def test_one_stuck_send_has_a_deadline() -> None:
    socket = StubbornSocket()
    socket.transport.stuck = True
    socket.transport.held = 1
    it = connection(socket, send_timeout_s=0.05)
    it.send(b"x")
    await serve(it)
    assert socket.closed_with is not None and socket.closed_with[0] == 1008


async def test_a_broken_socket_ends_the_connection() -> None:
    socket = StubbornSocket()
    socket.transport.gone = True
    it = connection(socket)
    it.send(b"x")
    await serve(it)
    assert socket.closed_with is None
    it.close(1001, "bye")
    await serve(it)
    assert socket.closed_with == (1001, b"bye"), "a close that fails is no error"


async def test_a_client_that_left_during_the_upgrade_ends_the_connection() -> None:
    socket = StubbornSocket()
    it = Connection(1, socket, None, socket.transport.drain, LimitsConfig())  # type: ignore[arg-type]
    it.send(b"x")
    await serve(it)
    it.abort()
    assert not socket.transport.written


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
