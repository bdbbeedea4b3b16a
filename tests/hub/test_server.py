"""A hub's life: start, stop, crash, start again, the process around it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal

import aiohttp
import pytest
import websockets
from aiohttp import web

from edge_node.errors import Bug, RetryLater
from edge_node.hub.config import hub_config
from edge_node.hub.server import Hub
from edge_node.hub.service import allow_files, run_hub
from tests.support.hub_client import DEADLINE_S, client, running_hub
from tests.support.waiting import eventually


async def test_a_graceful_stop_says_going_away_then_1001() -> None:
    async with running_hub() as hub, client(hub) as anna, client(hub) as ben:
        await anna.join("home")
        stopping = asyncio.create_task(hub.stop(5))
        assert await anna.frame() == {"type": "going_away", "retryAfterMs": 1000}
        assert await anna.close_code() == 1001 and await ben.close_code() == 1001
        async with asyncio.timeout(DEADLINE_S):
            await stopping
        with pytest.raises(OSError):
            await websockets.connect(f"{hub.url}/v1?key={hub.dev_key}")
        await hub.stop()


async def test_a_client_that_never_answers_a_close_does_not_hold_the_stop() -> None:
    async with running_hub() as hub:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(
            b"GET /v1?key=pk_dev_test HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        await eventually(lambda: hub.connections == 1)
        async with asyncio.timeout(DEADLINE_S):
            await hub.stop(0.2)
        writer.close()
        assert b"going_away" in await reader.read()


async def test_an_abort_is_a_crash_and_the_same_port_works_again() -> None:
    async with running_hub() as hub:
        port, key, code = hub.port, hub.dev_key, hub.code
        for _ in range(3):
            async with client(hub) as anna, client(hub) as ben:
                await anna.join("home")
                await ben.join("home")
                await hub.abort()
                assert await anna.close_code() == 1006
            assert hub.connections == 0
            await hub.start()
            assert (hub.port, hub.dev_key, hub.code) == (port, key, code)
            async with client(hub) as anna:
                assert (await anna.join("home"))["joined"] == []
        with pytest.raises(Bug):
            await hub.start()
        with pytest.raises(Bug):
            hub.add_routes([web.get("/x", _never)])
    await hub.abort()


async def test_a_taken_port_is_told_in_one_sentence() -> None:
    async with running_hub() as hub:
        other = Hub(hub_config({"port": hub.port}))
        with pytest.raises(RetryLater, match=str(hub.port)):
            await other.start()
        await other.stop()


async def test_addresses_in_urls() -> None:
    hub = Hub(hub_config({"host": "::1", "port": 9292}))
    assert hub.url == "ws://[::1]:9292"
    hub = Hub(hub_config({"host": "0.0.0.0", "port": 9292, "key": [{"id": "pk_live_1"}]}))
    assert hub.http_url == "http://127.0.0.1:9292" and hub.dev_key is None


async def test_health_and_metrics() -> None:
    async with running_hub() as hub, client(hub) as anna, aiohttp.ClientSession() as http:
        await anna.join("home")
        await anna.socket.send("{")
        await anna.until("error")
        async with client(hub) as ben:
            await ben.join("home")
            await ben.ask(type="publish", channel="home", data=1)
            await ben.ask(type="send", to="nobody", data=1)
        await eventually(lambda: hub.connections == 1)
        async with client(hub, "key=wrong"):
            pass
        async with http.get(f"{hub.http_url}/v1/usage"):
            pass
        async with http.get(f"{hub.http_url}/healthz") as reply:
            body = await reply.json()
            assert reply.status == 200 and body["status"] == "ok" and body["connections"] == 1
        async with http.get(f"{hub.http_url}/metrics") as reply:
            assert reply.content_type == "text/plain"
            text = await reply.text()
    lines = text.splitlines()
    assert {
        "edge_node_hub_connections 1",
        "edge_node_hub_connections_peak 2",
        "edge_node_hub_channels 1",
        "edge_node_hub_keys 2",
        "edge_node_hub_queue_messages 0",
        'edge_node_hub_frames_received_total{type="subscribe"} 2',
        'edge_node_hub_frames_received_total{type="malformed"} 1',
        "edge_node_hub_frames_refused_total 2",
        'edge_node_hub_refused_total{code="4001"} 1',
        'edge_node_hub_messages_total{kind="publish"} 1',
        'edge_node_hub_messages_delivered_total{kind="publish"} 1',
        'edge_node_hub_messages_dropped_total{reason="peer_not_found"} 1',
        'edge_node_hub_messages_dropped_total{reason="slow_client"} 0',
        'edge_node_hub_publish_fanout_bucket{le="0"} 0',
        'edge_node_hub_publish_fanout_bucket{le="+Inf"} 1',
        "edge_node_hub_publish_fanout_sum 1",
        'edge_node_hub_left_total{code="1000"} 1',
        'edge_node_hub_rest_replies_total{status="401"} 1',
    } <= set(lines)
    assert sum(line.startswith("# TYPE") for line in lines) == sum(line.startswith("# HELP") for line in lines)
    assert anna.peer_id not in text and "home" not in text


async def test_a_client_cannot_choose_labels() -> None:
    async with running_hub() as hub:
        for code in (3000, 4242):
            async with client(hub) as anna:
                await anna.socket.close(code)
        await eventually(lambda: hub._switchboard.totals.left == {"other": 2})


async def test_clients_are_asked_back_one_after_the_other() -> None:
    async with running_hub(limits={"return_spread_s": 10}) as hub, client(hub) as anna, client(hub) as ben:
        stopping = asyncio.create_task(hub.stop(5))
        assert (await anna.frame())["retryAfterMs"] == 1000 and (await ben.frame())["retryAfterMs"] == 6000
        await stopping


async def test_what_goes_wrong_inside_is_answered_in_json() -> None:
    async with running_hub() as hub:
        await hub.stop()
        hub.add_routes([web.get("/x", _never)])
        await hub.start()
        async with aiohttp.ClientSession() as http, http.get(f"{hub.http_url}/x") as reply:
            assert reply.status == 503 and (await reply.json())["error"] == "internal_error"


def test_as_many_files_as_clients_may_be_open() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        allow_files(400)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (400, hard)
        allow_files(300)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (400, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_storm_of_reconnects_leaves_nothing_behind() -> None:
    async with running_hub() as hub:
        for _ in range(5):
            async with asyncio.TaskGroup() as group:
                for _ in range(20):
                    group.create_task(_visit(hub))
        await eventually(lambda: hub.connections == 0)
        board = hub._switchboard
        await eventually(lambda: not board._connections and not hub._sockets._serving)
        assert board.machine.channels == 0 and not board.machine._by_peer and board.totals.opened == 100


async def _visit(hub: Hub) -> None:
    async with client(hub) as visitor:
        await visitor.join("home")


async def test_the_process_serves_until_sigterm() -> None:
    seen: list[Hub] = []
    task = asyncio.create_task(run_hub(hub_config({"port": 0}), announce=seen.append))
    await eventually(lambda: seen or task.done())
    async with client(seen[0]) as anna:
        os.kill(os.getpid(), signal.SIGTERM)
        assert await anna.close_code() == 1001
    async with asyncio.timeout(DEADLINE_S):
        await task


async def test_the_process_ends_when_cancelled() -> None:
    seen: list[Hub] = []
    task = asyncio.create_task(run_hub(hub_config({"port": 0}), seen.append))
    await eventually(lambda: seen or task.done())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(OSError):
        await websockets.connect(f"{seen[0].url}/v1")


async def test_the_process_tells_of_a_taken_port() -> None:
    async with running_hub() as hub:
        with pytest.raises(RetryLater):
            await run_hub(hub_config({"port": hub.port}))


async def _never(request: web.Request) -> web.Response:
    raise AssertionError
