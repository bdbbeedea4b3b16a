"""A conversation with a realtime speech service."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Protocol, Self

from edge_node.agent.sound import Converter, Heard, Said, rate_of
from edge_node.agent.tools import TIMEOUT_S, Tool, ToolCalls
from edge_node.agent.transport import (
    AgentEvent,
    AudioOutputDelta,
    Error,
    RealtimeTransport,
    Session,
    SpeechStarted,
    ToolCall,
)
from edge_node.aio.tasks import TaskGroup
from edge_node.errors import RealtimeAgentError
from edge_node.protocol.secrets import scrub

log = logging.getLogger(__name__)

CONNECT_S = 15.0
SEND_S = 10.0
"""A service that takes nothing for so long is gone."""


class RealtimeAgent:
    """`async with RealtimeAgent("You greet visitors.", transport) as agent:` then send() what is heard, play events().

    Sound is 16-bit mono PCM at the rates of the two formats; the transport's own rates are converted from and to. Tools
    run beside the sound, never in its way. For one session: a lost one is said by events(), a new agent begins another.
    """

    def __init__(
        self,
        system: str,
        transport: RealtimeTransport,
        tools: Iterable[Tool | Callable[..., Any]] = (),
        voice: str | None = None,
        input_audio_format: str = "audio/pcm;rate=16000",
        output_audio_format: str = "audio/pcm;rate=24000",
        raise_on_error: bool = True,
        *,
        tool_timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`system`: what the model is told to be; plain functions in `tools` are made Tool.of() them.

        With `raise_on_error` an error is raised by events(), otherwise it is one of them. Raises ValueError for a
        format, ValueError or TypeError for a tool, that cannot be.
        """
        self._input_rate, self._output_rate = rate_of(input_audio_format), rate_of(output_audio_format)
        offered = tuple(tool if isinstance(tool, Tool) else Tool.of(tool) for tool in tools)
        self._session = Session(system, offered, voice)
        self._transport = transport
        self._raise_on_error = raise_on_error
        self._calls = ToolCalls(offered, self._reply, tool_timeout_s)
        self._to_service = Converter(self._input_rate, transport.input_rate)
        self._to_program = Converter(transport.output_rate, self._output_rate)
        self._heard = Heard(transport.input_rate)
        self._said = Said(self._output_rate)
        self._tasks = TaskGroup("agent")
        self._state = "new"

    @property
    def dropped_input_seconds(self) -> float:
        """Sound that the service was too slow for: the oldest goes."""
        return self._heard.dropped_seconds

    @property
    def dropped_output_seconds(self) -> float:
        """Sound that the program was too slow for: the rest of an answer goes when a minute waits."""
        return self._said.dropped_seconds

    @property
    def dropped_events(self) -> int:
        """Events beyond all measure, or after the end."""
        return self._said.dropped_events

    async def __aenter__(self) -> Self:
        """Begins the session. Raises RealtimeAgentError, whatever raise_on_error is, also the second time."""
        if self._state != "new":
            raise RealtimeAgentError("an agent has one session: make another one")
        self._state = "connecting"
        try:
            async with asyncio.timeout(CONNECT_S):
                await self._transport.connect(self._session)
        except BaseException as err:
            await self._close()
            if isinstance(err, RealtimeAgentError) or not isinstance(err, Exception):
                raise
            raise _told(err, f"no session within {CONNECT_S:g} s") from None
        self._state = "open"
        self._tasks.spawn(self._until_over(self._upload), "upload")
        self._tasks.spawn(self._until_over(self._download), "download")
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._close()

    async def send(self, chunk: bytes) -> None:
        """The next sound of the microphone, cut anywhere; never waits. Once the session has ended nobody hears it.

        Raises RealtimeAgentError before `async with`.
        """
        self._require_begun("send")
        self._heard.put(self._to_service.push(chunk))

    async def events(self) -> AsyncIterator[AgentEvent]:
        """What comes, until the session ends; for one reader. Raises RealtimeAgentError, see `raise_on_error`.

        An error that is not fatal ends only this iteration: another events() goes on.
        """
        self._require_begun("events")
        while (event := await self._said.get()) is not None:
            if isinstance(event, Error) and self._raise_on_error:
                raise RealtimeAgentError(event.message, event.code)
            yield event

    async def interrupt(self) -> None:
        """Cancels running tools and what is being said; none of it comes from events() any more.

        Raises RealtimeAgentError before `async with`; what fails meanwhile is told by events(). After it: nothing.
        """
        self._require_begun("interrupt")
        self._hush()
        if self._state == "open":
            await self._within(self._transport.cancel())
            self._hush()  # what came in between

    def _hush(self) -> None:
        self._said.clear()
        self._to_program = Converter(self._transport.output_rate, self._output_rate)
        self._calls.cancel()

    async def _upload(self) -> None:
        while True:
            pcm = await self._heard.take()
            async with asyncio.timeout(SEND_S):
                await self._transport.send_audio(pcm)

    async def _download(self) -> None:
        async for event in self._transport.receive():
            match event:
                case ToolCall(call_id, name, arguments):
                    await self._calls.start(call_id, name, arguments)
                case AudioOutputDelta(data):
                    self._said.put(AudioOutputDelta(self._to_program.push(data)))
                case _:
                    self._said.put(event)

    async def _reply(self, call_id: str, text: str) -> None:
        await self._within(self._transport.send_tool_result(call_id, text))

    async def _within(self, work: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await work
        except Exception as err:
            self._over(err)

    async def _until_over(self, way: Callable[[], Awaitable[None]]) -> None:
        try:
            await way()
            self._over(None)
        except Exception as err:
            self._over(err)

    def _over(self, err: Exception | None) -> None:
        """The session has ended, by itself or by an error; the first one counts."""
        if self._said.ended:
            return
        told = None if err is None else _told(err, f"the service took nothing for {SEND_S:g} s")
        if told is not None:
            log.warning("the realtime session is over: %s", told)
        self._said.end(None if told is None else Error(str(told), told.code, fatal=True))

    def _require_begun(self, method: str) -> None:
        if self._state == "new":
            raise RealtimeAgentError(f"{method}() belongs inside `async with` of the agent", "invalid_state")

    async def _close(self) -> None:
        self._state = "closed"
        await self._calls.close()
        await self._tasks.close()
        try:
            async with asyncio.timeout(SEND_S):
                await self._transport.close()
        except Exception as err:
            log.warning("the realtime session did not end well: %s", _told(err, "it did not end"))
        self._said.end(None)


def _told(err: Exception, late: str) -> RealtimeAgentError:
    """The error as the program gets it: without secrets, a transport's own mistakes by their type."""
    if isinstance(err, RealtimeAgentError):
        return err
    if isinstance(err, TimeoutError):
        return RealtimeAgentError(f"{late}: try again later", "timeout")
    log.error("the realtime transport failed: %s", scrub("".join(traceback.format_exception(err))))
    return RealtimeAgentError(f"the realtime transport failed ({type(err).__name__}: {scrub(str(err))}): report it")


class Plays(Protocol):
    """As edge_node.media.Speaker: bytes at the agent's output rate."""

    def feed(self, data: bytes) -> Awaitable[None]: ...

    def stop(self) -> None: ...


async def play(agent: RealtimeAgent, speaker: Plays) -> None:
    """Plays what the agent says until its session ends; a person who begins to speak silences it at once.

    First the speaker, which is heard, then the agent. Raises what events() raises; logs errors that are events.
    """
    async for event in agent.events():
        match event:
            case AudioOutputDelta(data):
                await speaker.feed(data)
            case SpeechStarted():
                speaker.stop()
                await agent.interrupt()
            case Error(message):
                log.warning("the agent: %s", message)
