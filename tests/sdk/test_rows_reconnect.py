"""Rows 37 to 43: subscribing again, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edge_node.errors import DisconnectedError
from edge_node.ports import WireClosed
from edge_node.protocol.frames import ErrorFrame, ServerFrame
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.events import Disconnected, Presence
from edge_node.realtime.options import ReconnectOptions, SubscribeOptions
from tests.support.fake_server import FakeServer, acknowledge, ignore
from tests.support.hub_client import running_hub
from tests.support.peers import token
from tests.support.virtual_time import in_virtual_time, now_s
from tests.support.waiting import eventually
from tests.support.wires import Network

STEADY = ReconnectOptions(jitter_ratio=0)


def subscribed(server: FakeServer) -> list[tuple[str, bool]]:
    frames = server.wire.asked("subscribe")
    return [(f["channel"], f.get("includeSenderMetadata", False)) for f in frames]


# Subscribing again


@in_virtual_time
async def test_row_037_a_subscription_cut_off_before_its_answer_comes_back() -> None:
    server = FakeServer(answer=ignore)
    client = await server.connected()
    asking = asyncio.create_task(client.subscribe("c", SubscribeOptions(include_sender_metadata=True)))
    await eventually(lambda: server.wire.sent)
    await server.restore(client)
    with pytest.raises(DisconnectedError):
        await asking
    await eventually(lambda: subscribed(server) == [("c", True)])
    await client.close()


@in_virtual_time
async def test_row_038_channels_come_back_with_their_last_options() -> None:
    server = FakeServer()
    client = await server.connected()
    await client.subscribe("plain")
    await client.subscribe("changed")
    await client.subscribe("changed", SubscribeOptions(include_sender_metadata=True))
    await client.subscribe("gone")
    await client.unsubscribe("gone")
    for _ in range(2):
        await server.restore(client)
        await eventually(lambda: len(subscribed(server)) == 2)
        assert subscribed(server) == [("plain", False), ("changed", True)]
    await client.close()


async def test_row_038_on_a_real_hub_the_roster_comes_again() -> None:
    network, rosters = Network(), list[Presence]()
    fast = ReconnectOptions(initial_delay=0.01, max_delay=0.05)
    async with running_hub() as hub:
        provide = lambda: token("one")  # noqa: E731
        client = SignallingClient(token_provider=provide, url=hub.url, connect=network.connect, reconnect=fast)
        client.on(Presence, rosters.append)
        await client.connect()
        await client.subscribe("c")
        await eventually(lambda: len(rosters) == 1)
        network.cut()
        await eventually(lambda: len(rosters) == 2)
        assert client.reconnects == 1
        await client.close()


@pytest.mark.parametrize("answers", [True, False], ids=["rejected", "unanswered"])
@in_virtual_time
async def test_row_039_a_replay_that_fails_is_sent_four_times_in_all(answers: bool) -> None:
    times: list[float] = []

    def answer(frame: dict[str, Any]) -> ServerFrame | None:
        if len(server.wires) == 1 or frame["type"] != "subscribe":
            return acknowledge(frame)
        times.append(now_s())
        return ErrorFrame("backend_error", frame["requestId"]) if answers else None

    server = FakeServer(answer=answer)
    client = await server.connected(inactivity_timeout=0)
    await client.subscribe("c")
    await server.restore(client)
    await asyncio.sleep(300)
    pause = 2 if answers else 15 + 2
    assert [round(t - times[0], 3) for t in times] == [0, pause, 2 * pause, 3 * pause]
    assert client.state == "connected" and len(server.wires) == 2
    await client.close()


@in_virtual_time
async def test_row_039_a_retry_dies_with_its_socket() -> None:
    def answer(frame: dict[str, Any]) -> ServerFrame | None:
        return ErrorFrame("backend_error", frame["requestId"]) if len(server.wires) == 2 else acknowledge(frame)

    server = FakeServer(answer=answer)
    client = await server.connected(inactivity_timeout=0, reconnect=STEADY)
    await client.subscribe("c")
    await server.restore(client)
    await server.restore(client)
    await asyncio.sleep(60)
    assert len(server.wires[1].sent) == 1 and subscribed(server) == [("c", False)]
    await client.close()


@in_virtual_time
async def test_row_040_no_replay_unless_wanted() -> None:
    server = FakeServer()
    client = await server.connected(auto_resubscribe=False)
    await client.subscribe("c")
    await server.restore(client)
    await asyncio.sleep(5)
    assert subscribed(server) == []
    await client.close()


# The schedule


@in_virtual_time
async def test_row_041_delays_double_to_the_cap() -> None:
    server = FakeServer()
    client = await server.connected(reconnect=STEADY)
    await asyncio.sleep(60)
    server.refusal = WireClosed(503)
    await server.lose(client)
    await eventually(lambda: len(server.attempts) == 9, 1000)
    assert server.pauses[1:] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    server.refusal = None
    await eventually(lambda: client.state == "connected", 100)
    await asyncio.sleep(31)
    lost = now_s()
    await server.restore(client)
    assert server.attempts[-1] - lost == pytest.approx(0.5, abs=0.1), "after a stable time it starts over"
    await client.close()


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
@in_virtual_time
async def test_row_041_each_is_spread_both_ways(draw: float, share: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("edge_node.realtime.client.random.random", lambda: draw)
        server = FakeServer()
        client = await server.connected()
        server.refusal = WireClosed(1006)
        await server.lose(client)
        await eventually(lambda: len(server.attempts) == 9, 1000)
        assert server.pauses[1:] == pytest.approx([share * d for d in (1, 2, 4, 8, 16, 30, 30)])
        await client.close()


@in_virtual_time
async def test_row_042_after_4010_the_next_delay_alone_is_30_s() -> None:
    server = FakeServer()
    client = await server.connected(reconnect=STEADY)
    lost = now_s()
    await server.restore(client, 4010)
    assert server.attempts[-1] - lost == pytest.approx(30, abs=0.1)
    lost = now_s()
    await server.restore(client)
    assert server.attempts[-1] - lost == pytest.approx(1, abs=0.1)
    await client.close()


@pytest.mark.parametrize("code", [4001, 4003, 4012, 4020])
@in_virtual_time
async def test_row_043_codes_that_end_it(code: int) -> None:
    server = FakeServer()
    client, told = await server.connected(), list[Disconnected]()
    client.on(Disconnected, told.append)
    await server.lose(client, code, "why")
    await asyncio.sleep(3600)
    assert client.state == "closed" and told == [Disconnected(code, "why", False)] and len(server.attempts) == 1
    await client.close()


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1009, 4002, 4011])
@in_virtual_time
async def test_row_043_codes_that_do_not(code: int) -> None:
    async def provide() -> str:
        return "token"

    server = FakeServer()
    client, told = await server.connected(token_provider=provide), list[Disconnected]()
    client.on(Disconnected, told.append)
    lost = now_s()
    await server.restore(client, code)
    assert told == [Disconnected(code, "", True)]
    assert 0.39 < server.attempts[-1] - lost < 0.62
    await client.close()


@in_virtual_time
async def test_row_011_without_reconnect_each_drop_is_final() -> None:
    server = FakeServer()
    client, told = await server.connected(reconnect=False), list[Disconnected]()
    client.on(Disconnected, told.append)
    await server.lose(client)
    assert client.state == "closed" and told == [Disconnected(1006, "", False)]
    await client.close()
