"""Hostile and garbled input over real sockets: each has its answer, nobody else notices."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets

from edge_node.hub import listener
from edge_node.hub.server import Hub
from tests.support.hub_client import DEADLINE_S, SECRET_ID, client, refused_with, running_hub
from tests.support.waiting import eventually

TIMEOUT_S = 0.5
UPGRADE = (
    b"GET /v1?key=pk_dev_test HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@asynccontextmanager
async def raw(hub: Hub) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def the_end(reader: asyncio.StreamReader) -> bytes:
    """Everything up to where the hub closes."""
    async with asyncio.timeout(DEADLINE_S):
        try:
            return await reader.read()
        except ConnectionResetError:
            return b""


def part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forged(header: dict[str, Any], **claims: Any) -> str:
    body = {"sub": "root", "exp": int(time.time()) + 60, "channels": ["**"], "permissions": ["send"]} | claims
    return f"{part(header)}.{part(body)}.{part(b'x' * 32)}"


@pytest.mark.parametrize(
    "token",
    [
        forged({"alg": "none", "kid": SECRET_ID}),
        forged({"alg": "None", "kid": SECRET_ID}).rpartition(".")[0] + ".",
        forged({"alg": "RS256", "kid": SECRET_ID, "jwk": {"kty": "oct"}}),
        forged({"alg": ["HS256"], "kid": SECRET_ID}),
        forged({"alg": "HS256", "kid": [SECRET_ID]}),
        forged({"alg": "HS256", "kid": "../../etc/passwd"}),
        forged({"alg": "HS256", "kid": SECRET_ID, "crit": ["x"]}),
        forged({"alg": "HS256", "kid": SECRET_ID, "b64": False}),
        forged({"alg": "HS256", "kid": SECRET_ID}, exp=10**400),
        f"{part(b'[' * 5000)}.{part(b'{}')}.x",
        f"{part(b'{}')}.{part(b'{}')}",
        "....",
        "%00%ff",
        "e" * 33_000,
    ],
)
async def test_a_forged_token_is_4001(token: str) -> None:
    async with running_hub() as hub:
        assert await refused_with(hub, f"token={token}") == 4001


async def test_a_request_line_without_end_is_refused_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    async with running_hub() as hub, client(hub) as anna, raw(hub) as (reader, writer):
        writer.write(b"GET /v1?token=canary" + b"x" * 100_000 + b" HTTP/1.1\r\n\r\n")
        assert b" 400 " in (await the_end(reader)).split(b"\r\n")[0]
        assert (await anna.ask(type="ping"))["type"] == "pong"
    assert "canary" not in "".join(r.getMessage() + str(r.exc_info) for r in caplog.records)


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"GET /v1?key=pk_dev_test HTTP/1.1\r\nHost: x\r\nX-Slow: ",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",  # and never a second request
    ],
)
async def test_who_dawdles_over_a_request_is_cut(start: bytes) -> None:
    async with running_hub(limits={"header_timeout_s": TIMEOUT_S}) as hub, raw(hub) as (reader, writer):
        writer.write(start)
        await the_end(reader)
        async with client(hub) as anna:  # an upgraded socket has no such limit
            await asyncio.sleep(2 * TIMEOUT_S)
            assert (await anna.ask(type="ping"))["type"] == "pong"


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_node.hub.replies.BODY_TIMEOUT_S", 0.2)
    async with running_hub() as hub, raw(hub) as (reader, writer):
        writer.write(b"POST /console/session HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nConnection: close\r\n\r\n{")
        async with asyncio.timeout(DEADLINE_S):
            assert b" 408 " in await reader.readline()


async def test_more_sockets_than_there_is_room_for_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "SPARE_SOCKETS", 1)
    async with running_hub(limits={"max_connections": 2}) as hub, client(hub) as anna:
        idle = [await asyncio.open_connection("127.0.0.1", hub.port) for _ in range(2)]
        try:
            async with raw(hub) as (reader, _):
                assert await the_end(reader) == b""
            assert (await anna.ask(type="ping"))["type"] == "pong"
        finally:
            for _, writer in idle:
                writer.close()

        async def room() -> bool:
            try:
                async with client(hub) as ben:
                    return bool(ben.peer_id)
            except (OSError, websockets.WebSocketException):
                return False

        async with asyncio.timeout(DEADLINE_S):
            while not await room():
                pass


async def test_a_half_open_socket_is_noticed_and_its_peer_announced() -> None:
    limits = {"ping_every_s": 0.1, "ping_timeout_s": 2.0}
    async with running_hub(limits=limits) as hub, client(hub) as anna, raw(hub) as (reader, writer):
        await anna.join("home")
        frame = b'{"type":"subscribe","channel":"home"}'
        writer.write(UPGRADE + b"\x81" + bytes([0x80 | len(frame)]) + bytes(4) + frame)
        joined = (await anna.until("presence"))["joined"]
        # From here on it answers nothing, as a client whose network is gone.
        assert (await anna.until("presence"))["left"] == joined
        assert hub.connections == 1
        await the_end(reader)


async def test_a_slow_reader_costs_bounded_memory_and_nobody_else() -> None:
    limits = {"queue_bytes": 1 << 20, "messages_per_s": 10_000, "burst": 10_000, "send_timeout_s": 60}
    async with running_hub(limits=limits) as hub, client(hub) as talker, client(hub) as reader:
        await reader.join("home")
        async with raw(hub) as (slow, writer):
            frame = b'{"type":"subscribe","channel":"home"}'
            writer.write(UPGRADE + b"\x81" + bytes([0x80 | len(frame)]) + bytes(4) + frame)
            await reader.until("presence")
            slow._transport.pause_reading()  # type: ignore[attr-defined]
            board = hub._switchboard
            while not board.totals.too_slow:
                await talker.say(type="publish", channel="home", data="x" * 60_000)
                assert len((await reader.until("message"))["data"]) == 60_000
                queued = max((c._queued_bytes for c in board._connections.values()), default=0)
                assert queued <= 1 << 20
        await eventually(lambda: board.totals.closed[1008] == 1)
        assert board.totals.thrown_away > 0


async def test_floods_of_every_kind_end_in_4011_and_leave_the_rest_alone() -> None:
    async with running_hub() as hub, client(hub) as ben:
        for frame in ('{"type":"ping"}', "{", '{"type":"send","to":"nobody","data":1}', b"\x00"):
            async with client(hub) as anna:
                try:
                    for _ in range(400):
                        await anna.socket.send(frame)
                except websockets.ConnectionClosed:
                    pass
                assert await anna.close_code() == 4011
        assert (await ben.ask(type="ping"))["type"] == "pong"
        await eventually(lambda: hub.connections == 1)


async def test_a_storm_of_wrong_credentials_is_limited_per_address() -> None:
    limits = {"connects_per_minute": 5, "limit_loopback": True}
    async with running_hub(limits=limits) as hub:
        codes: list[int] = []
        for _ in range(8):
            try:
                codes.append(await refused_with(hub, "key=guess") or 0)
            except websockets.InvalidStatus as refused:
                codes.append(refused.response.status_code)
        assert codes == [4001] * 5 + [429] * 3
