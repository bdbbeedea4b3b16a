"""Rows 44 to 52: tokens, silence, garbage, the end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from edge_node.errors import DisconnectedError, SignallingConnectError, SignallingError
from edge_node.ports import WireClosed
from edge_node.protocol.frames import GoingAwayFrame, Pong, ServerFrame
from edge_node.realtime.events import Connected, Disconnected, GoingAway, Message, TokenProviderError
from edge_node.realtime.options import ReconnectOptions
from tests.support.fake_server import WELCOME, FakeServer, ignore
from tests.support.virtual_time import in_virtual_time, now_s
from tests.support.waiting import eventually

STEADY = ReconnectOptions(jitter_ratio=0)


# Tokens


class Tokens:
    """A provider that does what its script says; then it works."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.calls: list[float] = []

    async def __call__(self) -> Any:
        self.calls.append(now_s())
        step = self.script.pop(0) if self.script else f"t/{len(self.calls)}"
        if isinstance(step, Exception):
            raise step
        if step is Ellipsis:
            await asyncio.sleep(3600)
        return step


@in_virtual_time
async def test_row_044_each_attempt_has_a_token_of_its_own_and_failures_are_told_from_the_third() -> None:
    wrong = RuntimeError("no token")
    server, provider, told = FakeServer(), Tokens("first", wrong, wrong, ..., wrong), list[TokenProviderError]()
    client = await server.connected(token_provider=provider, reconnect=STEADY)
    client.on(TokenProviderError, told.append)
    await server.restore(client)
    assert [e.consecutive_failures for e in told] == [3, 4]
    assert isinstance(told[0].err, TimeoutError) and told[1].err is wrong
    assert provider.calls[4] - provider.calls[3] == pytest.approx(10 + 4), "10 s for the token, then the schedule"
    assert [url.partition("?")[2] for url in server.urls] == ["token=first", "token=t%2F6"]
    await client.close()


@in_virtual_time
async def test_row_044_it_goes_on_up_to_max_attempts() -> None:
    server, provider = FakeServer(), Tokens("first", *[RuntimeError("no token")] * 50)
    client = await server.connected(token_provider=provider, reconnect=ReconnectOptions(max_attempts=7))
    await server.lose(client)
    await eventually(lambda: client.state == "closed", 1000)
    assert len(provider.calls) == 1 + 7
    await client.close()


@in_virtual_time
async def test_row_045_a_provider_that_gives_up_ends_it() -> None:
    server, told = FakeServer(), list[Disconnected]()
    provider = Tokens("first", *[RuntimeError("no token")] * 9)
    client = await server.connected(token_provider=provider, reconnect=ReconnectOptions(max_attempts=2))
    client.on(Disconnected, told.append)
    await server.lose(client)
    await eventually(lambda: client.state == "closed", 100)
    assert [e.will_reconnect for e in told] == [True, False]
    await client.close()


@pytest.mark.parametrize("bad", ["", None, 5, b"bytes", RuntimeError("token=SECRET"), ...], ids=repr)
@in_virtual_time
async def test_row_046_what_is_no_token_is_a_failure(bad: Any) -> None:
    server = FakeServer()
    client = server.client(token_provider=Tokens(bad))
    with pytest.raises(SignallingConnectError, match="token provider") as caught:
        await client.connect()
    assert server.attempts == [] and "SECRET" not in str(caught.value)
    await client.close()


# Silence


@in_virtual_time
async def test_row_047_a_ping_after_a_third_of_the_time_without_frames() -> None:
    server = FakeServer()
    client = await server.connected(inactivity_timeout=60)
    await asyncio.sleep(19)
    server.wire.hear(Pong())
    await asyncio.sleep(19)
    assert server.wire.sent == [], "any frame puts it off"
    await asyncio.sleep(2)
    assert server.wire.sent == [{"type": "ping"}]
    await client.close()


@pytest.mark.parametrize(("timeout_s", "every_s"), [(60, 20), (9, 3), (1.5, 1)])
@in_virtual_time
async def test_row_047_at_most_each_second(timeout_s: float, every_s: float) -> None:
    times: list[float] = []

    def answer(frame: dict[str, Any]) -> ServerFrame:
        times.append(now_s())
        return Pong()

    server = FakeServer(answer=answer)
    client = await server.connected(inactivity_timeout=timeout_s)
    await eventually(lambda: len(times) == 3, 100)
    assert times == pytest.approx([every_s, 2 * every_s, 3 * every_s], abs=0.01)
    await client.close()


@in_virtual_time
async def test_row_048_a_server_that_falls_silent_is_left() -> None:
    server = FakeServer()
    client, told = await server.connected(reconnect=STEADY), list[Disconnected]()
    client.on(Disconnected, told.append)
    await eventually(lambda: told, 100)
    assert now_s() == pytest.approx(60, abs=0.1)
    assert told[0].code == 4000 and told[0].will_reconnect
    await eventually(lambda: len(server.wires) == 2)
    code, _ = server.wires[0].closed_with or (0, "")
    assert code == 4000 and server.pauses == [pytest.approx(60.5, abs=0.1)]
    await client.close()


GARBAGE: list[str | bytes] = [
    b"\x00\xff",
    b'{"type":"pong"}',
    "",
    "{",
    "null",
    "[]",
    '{"type":5}',
    '{"type":"tomorrow"}',
    '{"type":"message","channel":"c"}',
    '{"type":"presence","channel":"c","joined":[{}],"left":[]}',
    '{"type":"message","channel":"c","from":"p","data":NaN}',
    "[" * 100_000,
]


@in_virtual_time
async def test_row_049_what_cannot_be_read_is_skipped() -> None:
    server = FakeServer(greeting=None)
    client, heard = server.client(), list[Message]()
    client.on(Message, heard.append)
    connecting = asyncio.create_task(client.connect())
    await eventually(lambda: server.wires)
    server.wire.hear(*GARBAGE, WELCOME, *GARBAGE, '{"type":"message","channel":"c","from":"p","data":1,"new":2}')
    await connecting
    await eventually(lambda: heard)
    assert heard == [Message("c", "p", 1)] and client.state == "connected"
    assert client.frames_skipped == 2 * sum(isinstance(g, str) for g in GARBAGE)
    await client.close()


# The end


@in_virtual_time
async def test_row_050_close_ends_whatever_is_under_way() -> None:
    server = FakeServer(answer=ignore)
    client = await server.connected()
    stream = client.events(Message)
    asking = asyncio.create_task(client.publish("c", 1))
    await eventually(lambda: server.wire.sent)
    server.wire.may_send.clear()
    server.wire.may_close.clear()
    client.on(GoingAway, lambda e: asyncio.sleep(3600))
    client.emit(GoingAway(1))
    began = now_s()
    await asyncio.gather(client.close(1000, "bye"), client.close())
    await client.close()
    assert now_s() - began <= 3.1, "a second for each of socket, tasks and handlers"
    with pytest.raises(DisconnectedError):
        await asking
    assert [m async for m in stream] == [] and server.wire.closed_with == (1000, "bye")
    assert len(asyncio.all_tasks()) == 1


@in_virtual_time
async def test_row_050_also_between_two_attempts_and_before_the_first() -> None:
    server = FakeServer()
    client = await server.connected()
    server.refusal = WireClosed(1006)
    await server.lose(client)
    await client.close()
    assert client.state == "closed" and len(asyncio.all_tasks()) == 1
    await asyncio.sleep(3600)
    assert len(server.attempts) == 1
    unused = server.client()
    await unused.close()
    await unused.close()


@in_virtual_time
async def test_row_050_closing_ends_a_connect() -> None:
    server = FakeServer(greeting=None)
    client = server.client()
    connecting = asyncio.create_task(client.connect())
    await eventually(lambda: server.wires)
    await client.close()
    with pytest.raises(SignallingError):
        await connecting


@in_virtual_time
async def test_row_051_handlers_survive_a_failed_first_connect() -> None:
    server, seen = FakeServer(), list[Connected]()
    client = server.client()
    client.on(Connected, seen.append)
    stream = client.events(Connected)
    server.refusal = WireClosed(503)
    for _ in range(2):
        with pytest.raises(SignallingConnectError):
            await client.connect()
    server.refusal = None
    await client.connect()
    assert len(seen) == 1 and (await anext(stream)) == seen[0] and not seen[0].is_reconnect
    await client.close()


@pytest.mark.parametrize(
    ("said", "told"),
    [("3000", 3000), ("0", 0), ("999999999", 300_000), ('"soon"', 1000), ("null", 1000), ("-5", 1000), ("1e400", 1000)],
)
@in_virtual_time
async def test_row_052_going_away_is_told_within_its_bounds(said: str, told: int) -> None:
    server, heard = FakeServer(), list[GoingAway]()
    client = await server.connected()
    client.on(GoingAway, heard.append)
    server.wire.hear(f'{{"type":"going_away","retryAfterMs":{said}}}', GoingAwayFrame(1), '{"type":"going_away"}')
    await eventually(lambda: len(heard) == 3)
    assert heard == [GoingAway(told), GoingAway(1), GoingAway(1000)]
    await client.close()
