"""Rows 153 to 155: a conversation, its events, its interruption."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import Any

import numpy as np
import pytest

import edge_node.agent
from edge_node import media
from edge_node.agent import (
    AudioOutputDelta,
    Error,
    RealtimeAgent,
    RealtimeAgentError,
    RealtimeTransport,
    SpeechStarted,
    Tool,
    ToolCall,
    TurnComplete,
    play,
)
from edge_node.agent.agent import CONNECT_S, SEND_S, Plays
from edge_node.agent.sound import MAX_INPUT_S
from edge_node.errors import MeteredRealtimeError
from tests.agent.scripted import LOST, ScriptedTransport
from tests.support.virtual_time import in_virtual_time, now_s
from tests.support.waiting import settle

QUARTER = b"\1\0" * 4_000
"""A quarter of a second of what the agent is given by default."""


def echo(word: str) -> str:
    """Says it again."""
    return word


async def forever() -> None:
    """Waits."""
    await asyncio.Event().wait()


def test_row_153_the_signature() -> None:
    parameters = inspect.signature(RealtimeAgent).parameters.values()
    assert {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD} == {
        "system": inspect.Parameter.empty, "transport": inspect.Parameter.empty, "tools": (), "voice": None,
        "input_audio_format": "audio/pcm;rate=16000", "output_audio_format": "audio/pcm;rate=24000",
        "raise_on_error": True,
    }  # fmt: skip
    with pytest.raises(ValueError, match="audio/pcm"):
        RealtimeAgent("", ScriptedTransport(), input_audio_format="audio/opus")


def test_row_153_its_names_are_loaded_on_first_use() -> None:
    assert all(getattr(edge_node.agent, name) is not None for name in edge_node.agent.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        edge_node.agent.nothing  # noqa: B018


async def test_row_153_the_service_is_told_what_it_shall_be() -> None:
    transport: RealtimeTransport = (scripted := ScriptedTransport())
    async with RealtimeAgent("You greet.", transport, tools=[echo, Tool.of(forever)], voice="low"):
        assert scripted.session is not None
        assert (scripted.session.system, scripted.session.voice) == ("You greet.", "low")
        assert [tool.name for tool in scripted.session.tools] == ["echo", "forever"]
    assert [what for what, _ in scripted.done] == ["connect", "close"]


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
async def test_row_153_sound_is_converted_at_both_ends(rate: int) -> None:
    transport = ScriptedTransport(16_000, 24_000)
    wanted = f"audio/pcm;rate={rate}"
    agent = RealtimeAgent("", transport, input_audio_format=wanted, output_audio_format=wanted)
    tone = (np.sin(np.arange(rate) * 2 * np.pi * 440 / rate) * 8000).astype("<i2").tobytes()
    async with agent:
        for at in range(0, len(tone), 101):
            await agent.send(tone[at : at + 101])
        await settle()
        transport.come.put_nowait(AudioOutputDelta(b"\1\0" * 24_000))
        transport.come.put_nowait(None)
        events = [event async for event in agent.events()]
    heard = np.frombuffer(b"".join(pcm for pcm in transport.of("audio") if isinstance(pcm, bytes)), "<i2")
    assert len(heard) == 16_000 and np.argmax(np.abs(np.fft.rfft(heard))) == 440
    assert isinstance(events[0], AudioOutputDelta) and len(events[0].data) == rate * 2


@in_virtual_time
async def test_row_153_a_slow_service_loses_the_oldest_sound() -> None:
    transport = ScriptedTransport()
    transport.hangs = {"audio"}
    agent = RealtimeAgent("", transport)
    async with agent:
        await agent.send(QUARTER)
        await settle()
        for _ in range(int(MAX_INPUT_S * 4) + 4):
            await agent.send(QUARTER)
        assert agent.dropped_input_seconds == 1.0 and agent.dropped_output_seconds == agent.dropped_events == 0
        await asyncio.sleep(SEND_S + 1)
        with pytest.raises(RealtimeAgentError, match="took nothing for 10 s"):
            _ = [event async for event in agent.events()]
        await agent.send(QUARTER)


async def test_row_153_tools_run_beside_the_sound() -> None:
    transport = ScriptedTransport()
    agent = RealtimeAgent("", transport, tools=[echo, forever])
    async with agent:
        for event in (ToolCall("1", "forever", ""), ToolCall("2", "echo", '{"word": "Grüezi"}')):
            transport.come.put_nowait(event)
        transport.come.put_nowait(TurnComplete())
        assert await anext(agent.events()) == TurnComplete()
        async with asyncio.timeout(30):
            while not transport.of("result"):  # noqa: ASYNC110  (a thread answers)
                await asyncio.sleep(0.01)
        assert transport.of("result") == [("2", "Grüezi")]


@in_virtual_time
async def test_row_153_interrupt_cancels_tools_and_generation() -> None:
    ended: list[float] = []

    async def slow() -> None:
        """Waits."""
        try:
            await asyncio.sleep(20)
        finally:
            ended.append(now_s())

    transport = ScriptedTransport()
    agent = RealtimeAgent("", transport, tools=[slow])
    async with agent:
        for event in (ToolCall("1", "slow", ""), AudioOutputDelta(QUARTER), TurnComplete(), Error("odd")):
            transport.come.put_nowait(event)
        await settle()
        await agent.interrupt()
        await settle()
        assert ended == [0.0] and transport.of("cancel") == [None] and transport.of("result") == []
        with pytest.raises(RealtimeAgentError, match="odd"):
            _ = [event async for event in agent.events()]
        transport.come.put_nowait(AudioOutputDelta(QUARTER))
        transport.come.put_nowait(None)
        events = [event async for event in agent.events()]
    assert len(events) == 1, "the next answer comes, and after an error that is not fatal the session goes on"


@in_virtual_time
async def test_row_153_a_tool_that_does_not_care_holds_no_interruption_up() -> None:
    async def stubborn() -> str:
        """Does not care."""
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(5)
        return "done"

    transport = ScriptedTransport()
    async with RealtimeAgent("", transport, tools=[stubborn], tool_timeout_s=1000) as agent:
        transport.come.put_nowait(ToolCall("1", "stubborn", ""))
        await settle()
        await agent.interrupt()
        assert now_s() == 0.0
        await asyncio.sleep(10)
        assert transport.of("result") == []


@in_virtual_time
async def test_row_153_a_service_that_cannot_be_interrupted_is_gone() -> None:
    transport = ScriptedTransport()
    transport.hangs = {"cancel"}
    async with RealtimeAgent("", transport, raise_on_error=False) as agent:
        await agent.interrupt()
        assert [e async for e in agent.events()] == [
            Error("the service took nothing for 10 s: try again later", "timeout", fatal=True)
        ]


@pytest.mark.parametrize(
    ("err", "told"),
    [
        (LOST, LOST),
        (TimeoutError(), RealtimeAgentError(f"no session within {CONNECT_S:g} s: try again later", "timeout")),
        (OSError("key=abcdef123"), RealtimeAgentError("the realtime transport failed (OSError: key=***): report it")),
    ],
)
async def test_row_154_a_session_that_does_not_begin_is_raised(
    err: Exception, told: RealtimeAgentError, caplog: pytest.LogCaptureFixture
) -> None:
    transport = ScriptedTransport()
    transport.fails = {"connect": err, "close": OSError("too")}
    agent = RealtimeAgent("", transport, raise_on_error=False)
    with pytest.raises(RealtimeAgentError) as raised:
        async with agent:
            pass
    assert (str(raised.value), raised.value.code) == (str(told), told.code)
    assert isinstance(raised.value, MeteredRealtimeError) and raised.value.__cause__ is None
    assert ("Traceback" in caplog.text) and "abcdef123" not in caplog.text
    assert transport.of("close") == [None]


@in_virtual_time
async def test_row_154_who_is_cancelled_while_it_begins_closes() -> None:
    transport = ScriptedTransport()
    transport.hangs = {"connect"}
    agent = RealtimeAgent("", transport)

    async def begin() -> None:
        async with asyncio.timeout(1), agent:
            pass

    beginning = asyncio.create_task(begin())
    await settle()
    await agent.interrupt()
    with pytest.raises(TimeoutError):
        await beginning
    assert [what for what, _ in transport.done] == ["connect", "close"], "there is nothing to interrupt yet"


async def test_row_154_errors_are_raised_or_yielded() -> None:
    for raise_on_error in (True, False):
        transport = ScriptedTransport()
        agent = RealtimeAgent("", transport, raise_on_error=raise_on_error)
        async with agent:
            for event in (SpeechStarted(), AudioOutputDelta(QUARTER), TurnComplete(), LOST):
                transport.come.put_nowait(event)
            got: list[Any] = []
            try:
                async for given in agent.events():
                    got.append(given)
            except RealtimeAgentError as err:
                assert raise_on_error and (str(err), err.code) == (str(LOST), "1011")
            else:
                assert got[3] == Error(str(LOST), "1011", fatal=True)
            assert got[0] == SpeechStarted() and isinstance(got[1], AudioOutputDelta) and got[2] == TurnComplete()
            assert [event async for event in agent.events()] == [], "it is over"


async def test_row_154_results_that_cannot_be_sent_end_the_session() -> None:
    transport = ScriptedTransport()
    transport.fails = {"result": LOST}
    async with RealtimeAgent("", transport, raise_on_error=False) as agent:
        transport.come.put_nowait(ToolCall("1", "other", ""))
        assert [event async for event in agent.events()] == [Error(str(LOST), "1011", fatal=True)]
        transport.come.put_nowait(OSError("the first error counts"))
        await settle()
        assert [event async for event in agent.events()] == []


async def test_row_154_it_is_used_inside_async_with_and_once() -> None:
    transport = ScriptedTransport()
    agent = RealtimeAgent("", transport)
    for method, call in (
        ("send", agent.send(b"")),
        ("interrupt", agent.interrupt()),
        ("events", anext(agent.events())),
    ):
        with pytest.raises(RealtimeAgentError, match=rf"{method}\(\) belongs inside") as raised:
            await call
        assert raised.value.code == "invalid_state"
    async with agent:
        pass
    await agent.send(QUARTER)
    await agent.interrupt()
    assert [event async for event in agent.events()] == []
    assert [what for what, _ in transport.done] == ["connect", "close"], "who is a moment late does no harm"
    with pytest.raises(RealtimeAgentError, match="one session"):
        async with agent:
            pass


class Speaker:
    """Keeps what is fed, and when it was stopped."""

    def __init__(self, order: list[tuple[str, object]]) -> None:
        self.order = order
        self.fed = b""

    async def feed(self, data: bytes) -> None:
        self.fed += data

    def stop(self) -> None:
        self.order.append(("stop", None))
        self.fed = b""


def test_row_155_our_speakers_can_be_played_on() -> None:
    speakers: list[Plays] = [media.Speaker(), media.DuplexAudio().speaker]
    assert len(speakers) == 2


async def test_row_155_who_breaks_in_stops_the_speaker_then_the_agent(caplog: pytest.LogCaptureFixture) -> None:
    transport = ScriptedTransport()
    speaker = Speaker(transport.done)
    async with RealtimeAgent("", transport, raise_on_error=False) as agent:
        playing = asyncio.create_task(play(agent, speaker))
        transport.come.put_nowait(AudioOutputDelta(QUARTER))
        await settle()
        assert len(speaker.fed) == len(QUARTER)
        for event in (AudioOutputDelta(QUARTER), SpeechStarted(), AudioOutputDelta(QUARTER)):
            transport.come.put_nowait(event)
        await settle()
        assert transport.done == [("connect", None), ("stop", None), ("cancel", None)] and speaker.fed == b""
        for last in (TurnComplete(), Error("odd"), AudioOutputDelta(QUARTER), None):
            transport.come.put_nowait(last)
        with caplog.at_level(logging.WARNING):
            await playing
    assert len(speaker.fed) == len(QUARTER), "the next answer is played" and "the agent: odd" in caplog.text
