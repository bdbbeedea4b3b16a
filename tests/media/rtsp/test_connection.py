"""The connection's bookkeeping of requests that are waited for."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from edge_node.media.rtsp.connection import Connection, ConnectionGone


@asynccontextmanager
async def connected(answer: bytes = b"") -> AsyncIterator[Connection]:
    """A connection to a server that answers every chunk with the same bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            writer.write(answer)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    connection = Connection(lambda channel, packet, now: None)
    port = server.sockets[0].getsockname()[1]
    await asyncio.get_running_loop().create_connection(lambda: connection, "127.0.0.1", port)
    try:
        yield connection
    finally:
        await connection.close()
        server.close()
        await server.wait_closed()


async def test_before_it_is_connected() -> None:
    connection = Connection(lambda channel, packet, now: None)
    assert connection.peer_host == connection.own_host == ""
    with pytest.raises(ConnectionGone, match="is not connected"):
        connection.send("OPTIONS", "*")
    await connection.close()


async def test_both_addresses_are_known() -> None:
    async with connected() as connection:
        assert connection.peer_host == connection.own_host == "127.0.0.1"


async def test_requests_without_answers_are_bounded() -> None:
    async with connected() as connection:
        waiters = [connection.send("OPTIONS", "*") for _ in range(20)]
        assert [waiter.cancelled() for waiter in waiters] == [True] * 12 + [False] * 8
    assert all(waiter.cancelled() for waiter in waiters)


async def test_a_deadline_for_each_answer() -> None:
    async with connected(b"RTSP/1.0 200 OK\r\nCSeq: 77\r\n\r\n") as connection:
        with pytest.raises(TimeoutError, match="no answer to OPTIONS"):
            await connection.request("OPTIONS", "*", (), 0.2)


async def test_an_answer_that_comes_too_late_is_nobodys() -> None:
    async with connected(b"RTSP/1.0 200 OK\r\nCSeq: 1\r\n\r\n") as connection:
        waiter = connection.send("OPTIONS", "*")
        waiter.cancel()
        await connection.wait_closed(0.1)  # the late answer breaks nothing


async def test_who_waits_learns_why_it_ended() -> None:
    async with connected(b"\x00") as connection:
        with pytest.raises(ConnectionGone, match="neither a message nor a frame"):
            await connection.request("OPTIONS", "*", (), 10)
        with pytest.raises(ConnectionGone, match="neither a message nor a frame"):
            await connection.wait_closed(10)
        with pytest.raises(ConnectionGone, match="neither a message nor a frame"):
            connection.send("OPTIONS", "*")


async def test_a_server_that_asks_without_end_and_reads_nothing() -> None:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.setblocking(False)
        connection = Connection(lambda channel, packet, now: None)
        await loop.create_connection(lambda: connection, *listening.getsockname())
        server, _ = await loop.sock_accept(listening)
        with server, contextlib.suppress(ConnectionError):
            async with asyncio.timeout(30):
                while True:
                    await loop.sock_sendall(server, b"OPTIONS * RTSP/1.0\r\n\r\n" * 1000)
        with pytest.raises(ConnectionGone, match="asks without end"):
            await connection.wait_closed(10)
        await connection.close()
