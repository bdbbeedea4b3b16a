"""Rows 25 to 36: connecting, and asking the server for something."""

from __future__ import annotations

import asyncio
from typing import Any

import metered_realtime as official
import pytest

import edge_node
from edge_node.errors import (
    AckTimeoutError,
    DisconnectedError,
    NotConnectedError,
    ServerRequestError,
    SignallingConnectError,
    SignallingError,
)
from edge_node.ports import WireClosed
from edge_node.protocol.frames import (
    DirectFrame,
    ErrorFrame,
    MessageFrame,
    PresenceFrame,
    PresencePeer,
    ServerFrame,
    Welcome,
)
from edge_node.realtime import wire
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.events import Connected, Direct, Message, Presence, ServerError, StateChange
from edge_node.realtime.options import SignallingClientOptions, SubscribeOptions
from tests.support.fake_server import WELCOME, FakeServer, ignore
from tests.support.hub_client import running_hub
from tests.support.peers import token
from tests.support.virtual_time import in_virtual_time, now_s
from tests.support.waiting import eventually


def state_of(client: SignallingClient) -> str:
    return client.state


BOTH = pytest.mark.parametrize("sdk", [edge_node, official], ids=["ours", "official"])


# Connecting


@in_virtual_time
async def test_row_025_connect_is_done_with_the_welcome() -> None:
    server = FakeServer(greeting=None)
    client = server.client()
    states: list[str] = []
    client.on(StateChange, lambda e: states.append(e.to))
    connecting = asyncio.create_task(client.connect())
    await eventually(lambda: server.wires)
    await asyncio.sleep(9)
    assert state_of(client) == "connecting" and not connecting.done()
    server.wire.hear(WELCOME)
    await connecting
    assert client.state == "connected" and states == ["connecting", "connected"]
    await client.close()


@in_virtual_time
async def test_row_026_connect_is_for_idle_and_closed_clients() -> None:
    server = FakeServer(greeting=None)
    client = server.client()
    connecting = asyncio.create_task(client.connect())
    await eventually(lambda: server.wires)
    with pytest.raises(SignallingError, match="connecting"):
        await client.connect()
    server.wire.hear(WELCOME)
    await connecting
    with pytest.raises(SignallingError, match="connected"):
        await client.connect()
    await server.lose(client)
    with pytest.raises(SignallingError, match="reconnecting"):
        await client.connect()
    await client.close()
    server.greeting = WELCOME
    await client.connect()
    assert client.state == "connected"
    await client.close()


@in_virtual_time
async def test_row_027_without_a_welcome_the_socket_is_closed_after_10_s() -> None:
    server = FakeServer(greeting=None)
    client = server.client()
    with pytest.raises(SignallingConnectError, match="welcome"):
        await client.connect()
    assert now_s() == pytest.approx(10, abs=0.1)
    await eventually(lambda: server.wire.closed_with == (1008, "no welcome in time"))
    assert client.state == "closed" and len(server.attempts) == 1
    await client.close()


@in_virtual_time
async def test_row_027_nor_does_an_open_that_hangs_last_longer() -> None:
    async def connect(url: str) -> Any:
        await asyncio.sleep(3600)

    client = SignallingClient(api_key="pk_x", url="ws://localhost", connect=connect)
    with pytest.raises(SignallingConnectError):
        await client.connect()
    assert now_s() == pytest.approx(10, abs=0.1)
    await client.close()


@BOTH
async def test_row_028_a_first_failure_carries_its_code_and_is_final(sdk: Any) -> None:
    async def code_of(**options: Any) -> int:
        client = sdk.SignallingClient(**options)
        try:
            with pytest.raises(sdk.SignallingConnectError) as caught:
                await client.connect()
            assert client.state == "closed"
        finally:
            await client.close()
        return int(caught.value.close_code)

    assert await code_of(api_key="pk_x", url="ws://127.0.0.1:9") == 1006
    async with running_hub(limits={"connects_per_minute": 1, "limit_loopback": True}) as hub:
        assert await code_of(api_key="pk_wrong", url=hub.url) == 4001
        assert await code_of(api_key=hub.dev_key, url=hub.url) == 429


async def test_row_028_the_socket_tells_what_the_library_met() -> None:
    async with running_hub() as hub:
        with pytest.raises(WireClosed) as refused:
            await wire.connect(f"{hub.url}/nowhere?key=pk_secret")
        assert refused.value.code == 404
        socket = await wire.connect(f"{hub.url}/v1?key=pk_wrong")
        with pytest.raises(WireClosed) as closed:
            while True:
                await socket.recv()
        assert closed.value.code == 4001
        with pytest.raises(WireClosed):
            await socket.send("x")
        await socket.close()


@in_virtual_time
async def test_row_028_it_is_not_tried_again() -> None:
    server = FakeServer(greeting=WireClosed(4001, "bad token=SECRET"))
    client = server.client()
    with pytest.raises(SignallingConnectError) as caught:
        await client.connect()
    assert (caught.value.close_code, caught.value.close_reason) == (4001, "bad token=***")
    await asyncio.sleep(3600)
    assert len(server.attempts) == 1
    await client.close()


@in_virtual_time
async def test_row_029_the_first_welcome_is_no_reconnect() -> None:
    server = FakeServer(Welcome("me", 99, 7, 1234, {"iceServers": [{"urls": "stun:a"}]}))
    client, seen = server.client(), list[Connected]()
    client.on(Connected, seen.append)
    await client.connect()
    await server.lose(client)
    await eventually(lambda: len(seen) == 2)
    assert [e.is_reconnect for e in seen] == [False, True]
    assert (seen[0].peer_id, seen[0].server_time, seen[0].expires_at, seen[0].max_message_size) == ("me", 7, 99, 1234)
    assert seen[0].ice_servers == (edge_node.IceServerConfig("stun:a"),)
    await client.close()


# Requests


@BOTH
async def test_row_035_a_conversation_on_a_real_hub(sdk: Any) -> None:
    async def provide() -> str:
        return token("two")

    async with running_hub() as hub:
        one = SignallingClient(token_provider=lambda: token("one"), url=hub.url)
        two = sdk.SignallingClient(sdk.SignallingClientOptions(token_provider=provide, url=hub.url))
        heard: list[Any] = []
        for kind in (sdk.Message, sdk.Direct, sdk.Presence):
            two.on(kind, heard.append)
        async with one, two:
            await two.subscribe("c", sdk.SubscribeOptions(include_sender_metadata=True))
            await one.subscribe("c")
            await one.publish("c", {"text": "ü"})
            await one.send("two", [1, None])
            await eventually(lambda: len(heard) == 4)
            with pytest.raises(sdk.ServerRequestError) as caught:
                await two.send("nobody", 1)
            assert caught.value.code == "peer_not_found"
            await one.unsubscribe("c")
            await eventually(lambda: len(heard) == 5)
        snapshot, joined, message, direct, left = heard
        assert snapshot.joined == () and [p.peer_id for p in joined.joined] == ["one"]
        assert (message.channel, message.sender_peer_id, message.data) == ("c", "one", {"text": "ü"})
        assert (direct.sender_peer_id, direct.data) == ("one", [1, None])
        assert [p.peer_id for p in left.left] == ["one"]
        assert one.state == two.state == "closed"


def calls_of(client: SignallingClient) -> list[Any]:
    return [client.subscribe, client.unsubscribe, lambda c: client.publish(c, 1), lambda p: client.send(p, 1)]


@in_virtual_time
async def test_row_030_without_a_connection_nothing_is_done_nor_remembered() -> None:
    server = FakeServer()
    client = server.client()
    for call in calls_of(client):
        with pytest.raises(NotConnectedError, match="idle"):
            await call("x")
    await client.connect()
    await client.subscribe("held")
    await server.lose(client)
    for call in calls_of(client):
        with pytest.raises(NotConnectedError, match="reconnecting"):
            await call("new")
    with pytest.raises(NotConnectedError):
        await client.subscribe("held")
    await eventually(lambda: client.state == "connected")
    assert [f["channel"] for f in server.wire.asked("subscribe")] == ["held"]
    await client.close()
    for call in calls_of(client):
        with pytest.raises(NotConnectedError, match="closed"):
            await call("x")


@in_virtual_time
async def test_row_031_bad_names_never_leave() -> None:
    server = FakeServer()
    client = await server.connected()
    for call in calls_of(client):
        for wrong in (None, 5, b"c"):
            with pytest.raises(TypeError):
                await call(wrong)
        for name in ("", "a\x00b", "a\x7f", "a\x85", "x" * 257):
            with pytest.raises(ValueError):
                await call(name)
    with pytest.raises(ValueError):
        await client.send("x" * 129, 1)
    assert server.wire.sent == []
    await client.close()


@in_virtual_time
async def test_row_032_data_that_is_not_json_never_leaves() -> None:
    server = FakeServer()
    client = await server.connected()
    for data in (float("nan"), {"deep": [float("inf")]}, -float("inf")):
        with pytest.raises(ValueError):
            await client.publish("c", data)
        with pytest.raises(ValueError):
            await client.send("p", data)
    for thing in (b"bytes", object(), {(1, 2): 3}):
        with pytest.raises(TypeError):
            await client.publish("c", thing)
    assert server.wire.sent == []
    await client.publish("c", None)
    assert server.wire.sent[0]["data"] is None
    await client.close()


@in_virtual_time
async def test_row_033_an_answer_that_does_not_come_in_15_s() -> None:
    server = FakeServer(answer=ignore)
    client = await server.connected(inactivity_timeout=0)
    began = now_s()
    with pytest.raises(AckTimeoutError) as caught:
        await client.publish("c", 1)
    assert now_s() - began == pytest.approx(15, abs=0.1)
    assert (caught.value.request_id, caught.value.timeout) == (server.wire.sent[0]["requestId"], 15.0)
    assert client.state == "connected"
    await client.close()


@in_virtual_time
async def test_row_034_a_lost_socket_answers_at_once() -> None:
    server = FakeServer(answer=ignore)
    client = await server.connected()
    asked = [asyncio.create_task(call) for call in (client.publish("c", 1), client.subscribe("c"), client.send("p", 1))]
    await eventually(lambda: len(server.wire.sent) == 3)
    lost = now_s()
    server.wire.hear(WireClosed(1006))
    for task in asked:
        with pytest.raises(DisconnectedError):
            await task
    assert now_s() == lost
    await client.close()


@pytest.mark.parametrize("code", ["peer_not_found", "a_code_of_tomorrow"])
@in_virtual_time
async def test_row_035_an_error_answers_its_request(code: str) -> None:
    def refuse(frame: dict[str, Any]) -> ServerFrame:
        return ErrorFrame(code, frame["requestId"], "because of token=SECRET")

    server = FakeServer(answer=refuse)
    client = await server.connected()
    told: list[ServerError] = []
    client.on(ServerError, told.append)
    with pytest.raises(ServerRequestError, match="because") as caught:
        await client.send("p", 1)
    assert (caught.value.code, caught.value.request_id) == (code, server.wire.sent[0]["requestId"])
    assert told == [] and "SECRET" not in str(caught.value)
    await client.close()


@in_virtual_time
async def test_row_036_an_error_that_answers_nothing_is_an_event() -> None:
    server = FakeServer()
    client, told = await server.connected(), list[ServerError]()
    client.on(ServerError, told.append)
    server.wire.hear(
        ErrorFrame("unknown_type"), ErrorFrame("over_message_quota", None, "much"), ErrorFrame("x", "other")
    )
    await eventually(lambda: told)
    await client.publish("c", 1)
    assert told == [ServerError("over_message_quota", "much")]
    await client.close()


@in_virtual_time
async def test_row_036_frames_become_events() -> None:
    server = FakeServer()
    client, heard = await server.connected(), list[Any]()
    for kind in (Message, Direct, Presence):
        client.on(kind, heard.append)
    roster = (PresencePeer("p", {"a": 1}),)
    server.wire.hear(MessageFrame("c", "p", 1, {"a": 1}), DirectFrame("p", None), PresenceFrame("c", roster))
    await eventually(lambda: len(heard) == 3)
    assert heard == [Message("c", "p", 1, {"a": 1}), Direct("p", None, None), Presence("c", roster, ())]
    await client.close()


async def test_row_026_the_context_connects_and_closes() -> None:
    async with running_hub() as hub:
        options = SignallingClientOptions(api_key=hub.dev_key, url=hub.url)
        async with SignallingClient(options) as client:
            assert state_of(client) == "connected"
            await client.subscribe("c", SubscribeOptions())
        assert client.state == "closed"
