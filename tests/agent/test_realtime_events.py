"""Row 156: a service over a WebSocket, against a server on this machine."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from edge_node.agent import (
    AudioOutputDelta,
    Error,
    RealtimeAgent,
    RealtimeAgentError,
    RealtimeEventsTransport,
    Session,
    SpeechStarted,
    Tool,
    ToolCall,
    TurnComplete,
)
from edge_node.agent.realtime_events import MAX_NAMES
from edge_node.agent.transport import TransportEvent

KEY = "sk_canary0123456789"
SOUND = b"\1\0\2\0"
WAIT_S = 30.0


class Service:
    """A server that keeps what comes, and says what it is told to."""

    def __init__(self) -> None:
        self.got: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.headers: list[str | None] = []
        self.refuse: Callable[[ServerConnection], Response] | None = None
        self.server: Server | None = None

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"ws://127.0.0.1:{next(iter(self.server.sockets)).getsockname()[1]}/v1/realtime?model=m"

    def admit(self, connection: ServerConnection, request: Request) -> Response | None:
        self.headers.append(request.headers.get("Authorization"))
        return self.refuse(connection) if self.refuse else None

    async def serve(self, connection: ServerConnection) -> None:
        async for frame in connection:
            self.got.put_nowait(json.loads(frame))

    async def said(self) -> dict[str, Any]:
        async with asyncio.timeout(WAIT_S):
            return await self.got.get()

    async def say(self, *events: dict[str, Any] | str) -> None:
        assert self.server is not None
        (connection,) = self.server.connections
        for event in events:
            await connection.send(event if isinstance(event, str) else json.dumps(event))


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    made = Service()
    async with serve(made.serve, "127.0.0.1", 0, process_request=made.admit) as made.server:
        yield made


class Line:
    """A connected transport and what it receives."""

    def __init__(self, transport: RealtimeEventsTransport) -> None:
        self.transport = transport
        self._receive = transport.receive()

    async def next(self) -> TransportEvent:
        async with asyncio.timeout(WAIT_S):
            return await anext(self._receive)


@asynccontextmanager
async def connected(service: Service) -> AsyncIterator[Line]:
    transport = RealtimeEventsTransport(service.url, KEY)
    await transport.connect(Session("You greet."))
    assert (await service.said())["type"] == "session.update"
    try:
        yield Line(transport)
    finally:
        await transport.close()


def created(response: str) -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": response}}


def delta(response: str, name: str = "response.output_audio.delta") -> dict[str, Any]:
    return {"type": name, "response_id": response, "delta": base64.b64encode(SOUND).decode()}


def call(response: str, ident: str, name: str | None = None) -> dict[str, Any]:
    event = {"type": "response.function_call_arguments.done", "response_id": response, "call_id": ident}
    return event | {"arguments": "{}"} | ({"name": name} if name else {})


def announced(ident: str, name: str) -> dict[str, Any]:
    item = {"type": "function_call", "call_id": ident, "name": name}
    return {"type": "response.output_item.added", "item": item}


def done(response: str, status: str = "completed", **details: Any) -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": response, "status": status} | details}


def output(ident: str, text: str) -> dict[str, Any]:
    item = {"type": "function_call_output", "call_id": ident, "output": text}
    return {"type": "conversation.item.create", "item": item}


def echo(word: str) -> str:
    """Says it again."""
    return word


TOOL = {"type": "function", "name": "echo", "description": "Says it again.", "parameters": Tool.of(echo).parameters}


@pytest.mark.parametrize("voice", [None, "low"])
async def test_row_156_the_session_is_described_in_either_form(service: Service, voice: str | None) -> None:
    spoken = {"voice": voice} if voice else {}
    for flat in (False, True):
        transport = RealtimeEventsTransport(service.url, KEY, rate=24_000, flat=flat)
        await transport.connect(Session("You greet.", (Tool.of(echo),), voice))
        told = await service.said()
        await transport.close()
        assert told["type"] == "session.update"
        session = told["session"]
        assert session["instructions"] == "You greet." and session["tools"] == [TOOL]
        if flat:
            assert session["input_audio_format"] == session["output_audio_format"] == "pcm16"
            assert {"voice": session["voice"]} == spoken if voice else "voice" not in session
        else:
            sound = {"format": {"type": "audio/pcm", "rate": 24_000}}
            assert session["audio"]["output"] == sound | spoken
            assert session["audio"]["input"] == sound | {"turn_detection": {"type": "server_vad"}}
    assert service.headers == [f"Bearer {KEY}"] * 2


async def test_row_156_a_whole_conversation_with_a_tool(service: Service) -> None:
    transport = RealtimeEventsTransport(service.url, token_provider=lambda: "fresh")
    async with RealtimeAgent("", transport, tools=[echo]) as agent:
        await service.said()
        await agent.send(b"\1\0" * 1_600)
        sent = await service.said()
        assert sent["type"] == "input_audio_buffer.append" and len(base64.b64decode(sent["audio"])) == 4_800
        events = agent.events()
        await service.say(
            {"type": "session.updated"}, {"type": "input_audio_buffer.speech_started"}, created("r1"),
            call("r1", "c1", "echo") | {"arguments": '{"word": "Grüezi"}'},
        )  # fmt: skip
        assert await anext(events) == SpeechStarted()
        assert await service.said() == output("c1", "Grüezi")
        assert service.got.empty()
        await service.say(done("r1"))
        assert await service.said() == {"type": "response.create"}
        await service.say(created("r2"), delta("r2"), delta("r2", "response.audio.delta"), done("r2"))
        got = [await anext(events) for _ in range(3)]
    assert got == [AudioOutputDelta(SOUND), AudioOutputDelta(SOUND), TurnComplete()]
    assert service.headers == ["Bearer fresh"]


async def test_row_156_the_model_goes_on_when_it_has_all_results(service: Service) -> None:
    async with connected(service) as line:
        many = [announced(f"n{number}", "other") for number in range(MAX_NAMES)]
        await service.say(created("r1"), announced("c1", "weather"), *many, announced("c2", "one too many"))
        await service.say(call("r1", "c1"), call("r1", "c2"), done("r1"))
        assert await line.next() == ToolCall("c1", "weather", "{}"), "named when it was announced"
        assert await line.next() == ToolCall("c2", "", "{}")
        await line.transport.send_tool_result("c1", "one")
        await line.transport.send_tool_result("c1", "again")
        await line.transport.send_tool_result("c2", "two")
        assert await service.said() == output("c1", "one")
        assert await service.said() == output("c2", "two")
        waiting = asyncio.ensure_future(line.next())
        assert await service.said() == {"type": "response.create"}
        await service.say(created("r2"), done("r2"))
        assert await waiting == TurnComplete()


async def test_row_156_what_was_cancelled_is_not_received(service: Service) -> None:
    async with connected(service) as line:
        await line.transport.cancel()
        await service.say(created("r1"), delta("r1"), call("r1", "c1", "echo"))
        assert await line.next() == AudioOutputDelta(SOUND)
        assert await line.next() == ToolCall("c1", "echo", "{}")
        await line.transport.cancel()
        await line.transport.cancel()
        await line.transport.send_tool_result("c1", "too late")
        assert await service.said() == {"type": "response.cancel"}
        assert await service.said() == output("c1", "error: interrupted by the person")
        ended = {"type": "error", "error": {"code": "response_cancel_not_active", "message": "none"}}
        await service.say(delta("r1"), call("r1", "c2", "echo"), done("r1", "cancelled"), ended)
        await service.say(created("r2"), delta("r2"), done("r2", "cancelled"))
        assert await line.next() == AudioOutputDelta(SOUND)
        assert await line.next() == TurnComplete(), "one that the service itself ended is over, too"
        assert service.got.empty()


async def test_row_156_what_goes_wrong_is_said(service: Service) -> None:
    async with connected(service) as line:
        failed = {"status_details": {"error": {"type": "rate_limit", "message": f"slow down, {KEY}"}}}
        await service.say(
            "not JSON", "[]", {"type": "error"}, {"type": "response.audio.delta", "delta": "***"}, {"type": "other"},
            {"type": "error", "error": {"code": "bad_voice", "message": "no such voice"}},
            done("r1", "failed", **failed), done("r2", "failed"), done("r3", "failed", status_details={"error": "odd"}),
        )  # fmt: skip
        unsaid = Error("the service failed, and does not say why")
        got = [await line.next() for _ in range(4)]
        assert got == [Error("no such voice", "bad_voice"), Error("slow down, sk_***", "rate_limit"), unsaid, unsaid]
        assert line.transport.malformed == 2


async def test_row_156_a_session_that_ends_is_said_and_never_begun_again(service: Service) -> None:
    transport = RealtimeEventsTransport(service.url)
    async with RealtimeAgent("", transport, raise_on_error=False) as agent:
        await service.said()
        assert service.server is not None
        (connection,) = service.server.connections
        await connection.close(1008, "token=abcdef123456 expired")
        assert [event async for event in agent.events()] == [
            Error("the service closed the session (1008 token=*** expired): begin another", "1008", fatal=True)
        ]
        with pytest.raises(RealtimeAgentError, match="closed the session"):
            await transport.send_audio(SOUND)
    assert service.headers == [None]


async def test_row_156_a_connection_that_breaks_is_said(service: Service) -> None:
    async with connected(service) as line:
        assert service.server is not None
        (connection,) = service.server.connections
        connection.transport.abort()
        with pytest.raises(RealtimeAgentError, match="broke") as raised:
            await line.next()
        assert raised.value.code == "1006"


async def test_row_156_close_ends_receive(service: Service) -> None:
    async with connected(service) as line:
        waiting = asyncio.ensure_future(line.next())
        await asyncio.sleep(0)
        await line.transport.close()
        with pytest.raises(StopAsyncIteration):
            await waiting
    unused = RealtimeEventsTransport(service.url)
    with pytest.raises(RealtimeAgentError, match="connect"):
        await unused.send_audio(SOUND)
    await unused.close()


@pytest.mark.parametrize("status", [401, 302])
async def test_row_156_a_refusal_is_said_without_the_key(
    service: Service, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(connection: ServerConnection) -> Response:
        response = connection.respond(status, "no\n")
        response.headers["Location"] = "ws://localhost:1/elsewhere"
        return response

    service.refuse = refuse
    transport = RealtimeEventsTransport(f"{service.url}&key={KEY}", KEY)
    with caplog.at_level(logging.DEBUG), pytest.raises(RealtimeAgentError, match=f"refused \\({status}\\)") as raised:
        await transport.connect(Session(""))
    assert raised.value.code == str(status) and len(service.headers) == 1, "the key follows no redirect"
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("edge_node")]
    assert ours and not [text for text in (*ours, str(raised.value), repr(transport)) if KEY in text]
    await transport.close()


async def test_row_156_nobody_there_is_said() -> None:
    async with serve(Service().serve, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
    with pytest.raises(RealtimeAgentError, match="no connection"):
        await RealtimeEventsTransport(f"ws://127.0.0.1:{port}").connect(Session(""))


def test_row_156_the_key_goes_to_no_stranger() -> None:
    for url in ("ws://example.com/", "http://127.0.0.1/", "wss:", "example.com"):
        with pytest.raises(ValueError, match="wss://"):
            RealtimeEventsTransport(url, KEY)
    assert KEY not in repr(RealtimeEventsTransport(f"wss://example.com/?api_key={KEY}", KEY))
