"""Row 156: the service on this machine, in steered time."""

from __future__ import annotations

import asyncio

import numpy as np

from edge_node.agent import AudioOutputDelta, LoopbackTransport, RealtimeAgent, SpeechStarted, TurnComplete, play
from edge_node.agent.loopback import MAX_TURN_S, TurnDetector
from edge_node.agent.transport import AgentEvent, Session, ToolCall, TransportEvent
from edge_node.dsp.tone import Tone
from tests.support.clock import ManualClock
from tests.support.virtual_time import in_virtual_time, now_s
from tests.support.waiting import settle

IN, OUT = 16_000, 24_000
STEP = 0.1


def loud(seconds: float) -> bytes:
    wave = np.sin(np.arange(round(seconds * IN)) * 2 * np.pi * 440 / IN) * 8000
    return wave.astype("<i2").tobytes()


def quiet(seconds: float) -> bytes:
    return bytes(round(seconds * IN) * 2)


async def speak(to: RealtimeAgent, pcm: bytes) -> None:
    """As a microphone gives it."""
    size = round(STEP * IN) * 2
    for at in range(0, len(pcm), size):
        await asyncio.sleep(STEP)
        await to.send(pcm[at : at + size])


async def collect(agent: RealtimeAgent, into: list[tuple[float, AgentEvent]]) -> None:
    async for event in agent.events():
        into.append((round(now_s(), 3), event))


def test_row_156_turns_are_told_by_loudness() -> None:
    turns = TurnDetector(start_dbfs=-40, start_blocks=2, silence_s=0.5)
    assert turns.deadline is None and turns.tick(99) is None
    assert [turns.hear(level, at) for level, at in [(-30, 1.0), (-50, 1.02), (-30, 1.04), (-40, 1.06)]] == [
        None, None, None, "started",
    ]  # fmt: skip
    assert turns.hear(-60, 1.5) is None and turns.deadline == 1.56
    assert turns.hear(-60, 1.56) == "ended" and not turns.speaking and not turns.listening


@in_virtual_time
async def test_row_156_a_turn_comes_back_at_the_pace_it_was_said() -> None:
    transport = LoopbackTransport(IN, OUT)
    async with RealtimeAgent("", transport) as agent:
        got: list[tuple[float, AgentEvent]] = []
        reading = asyncio.create_task(collect(agent, got))
        await speak(agent, quiet(1) + loud(1) + quiet(3))
        await transport.close()
        await reading
    assert got[0] == (1.1, SpeechStarted())
    said = [(at, event.data) for at, event in got if isinstance(event, AudioOutputDelta)]
    assert said[0][0] == 2.6 and {len(data) for _, data in said[:-1]} == {4_800}
    assert np.allclose(np.diff([at for at, _ in said]), STEP)
    assert got[-1] == (said[-1][0], TurnComplete()) and len(got) == len(said) + 2
    pcm = np.frombuffer(b"".join(data for _, data in said), "<i2")
    assert 1.5 * OUT <= len(pcm) <= 1.6 * OUT, "a second of sound and the silence that ended it"
    assert np.argmax(np.abs(np.fft.rfft(pcm[:OUT]))) == 440


@in_virtual_time
async def test_row_156_a_microphone_that_falls_silent_altogether_ends_a_turn() -> None:
    transport = LoopbackTransport(IN, OUT)
    async with RealtimeAgent("", transport) as agent:
        await speak(agent, loud(0.5))
        async for event in agent.events():
            if isinstance(event, TurnComplete):
                break
        assert round(now_s(), 3) == 1.5, "0.6 s after the last sound 0.5 s of it begin to come, the last 0.1 s at once"


@in_virtual_time
async def test_row_155_breaking_in_silences_the_answer_and_is_answered_itself() -> None:
    class Speaker:
        stopped: list[float]
        fed: list[float]

        def __init__(self) -> None:
            self.stopped, self.fed = [], []

        async def feed(self, data: bytes) -> None:
            self.fed.append(round(now_s(), 3))

        def stop(self) -> None:
            self.stopped.append(round(now_s(), 3))

    speaker, transport = Speaker(), LoopbackTransport(IN, OUT)
    async with RealtimeAgent("", transport) as agent:
        playing = asyncio.create_task(play(agent, speaker))
        await speak(agent, loud(2) + quiet(1) + loud(0.3) + quiet(2))
        await transport.close()
        await playing
    assert speaker.stopped == [0.1, 3.1]
    assert speaker.fed[0] == 2.6 and max(at for at in speaker.fed if at < 3.9) <= 3.1, "it falls silent at once"
    assert min(at for at in speaker.fed if at > 3.1) == 3.9, "0.6 s after the interruption ended"


@in_virtual_time
async def test_row_156_a_scripted_tool_is_called_before_the_answer() -> None:
    async def lookup(name: str) -> str:
        """Who lives here."""
        await asyncio.sleep(2)
        return f"{name}: second floor"

    transport = LoopbackTransport(IN, OUT, calls=[("lookup", {"name": "Ada"})])
    async with RealtimeAgent("You greet.", transport, tools=[lookup]) as agent:
        assert transport.session == Session("You greet.", agent._session.tools, None)
        got: list[tuple[float, AgentEvent]] = []
        reading = asyncio.create_task(collect(agent, got))
        await speak(agent, loud(0.5) + quiet(4) + loud(0.5) + quiet(2))
        await transport.close()
        await reading
    assert transport.results == [("call-1", "Ada: second floor")]
    answers = [at for at, event in got if isinstance(event, AudioOutputDelta)]
    assert answers[0] == 3.1, "0.5 s of speech, 0.6 s of silence, 2 s of looking up"
    assert sum(event == TurnComplete() for _, event in got) == 2


@in_virtual_time
async def test_row_156_cancel_ends_the_answer_and_the_call_that_waits() -> None:
    transport = LoopbackTransport(IN, OUT, calls=[("lookup", {})])
    await transport.connect(Session(""))
    receive = transport.receive()

    async def turn() -> TransportEvent:
        await transport.send_audio(loud(0.5) + quiet(1))
        assert await anext(receive) == SpeechStarted()
        return await anext(receive)

    call = await turn()
    assert call == ToolCall("call-1", "lookup", "{}")
    await transport.cancel()
    await transport.send_tool_result("call-1", "too late")
    assert transport.results == []
    assert isinstance(await turn(), AudioOutputDelta)
    await transport.cancel()
    waiting = asyncio.ensure_future(anext(receive, None))
    await settle()
    assert not waiting.done()
    await transport.close()
    assert await waiting is None


async def test_row_156_a_steered_clock_decides_and_long_speech_is_answered_meanwhile() -> None:
    clock = ManualClock()
    transport = LoopbackTransport(IN, OUT, clock=clock.monotonic)
    receive = transport.receive()
    await transport.send_audio(Tone(440, 0.3).block(int(0.5 * IN)).astype("<i2").tobytes())
    assert await anext(receive) == SpeechStarted()
    waiting = asyncio.ensure_future(anext(receive))
    await settle()
    clock.advance(0.61)
    await transport.send_audio(b"")
    assert isinstance(await waiting, AudioOutputDelta)
    await transport.cancel()
    await transport.send_audio(loud(MAX_TURN_S + 1))
    assert await anext(receive) == SpeechStarted()
    assert await anext(receive) == SpeechStarted(), "the next turn has begun"
    assert isinstance(await anext(receive), AudioOutputDelta)
    await transport.close()
    await receive.aclose()  # type: ignore[attr-defined]
