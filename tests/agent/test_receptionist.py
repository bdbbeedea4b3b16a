"""The agent talks while the call machine says so, passes messages on, says goodbye."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from edge_node.agent.agent import RealtimeAgent
from edge_node.agent.receptionist import (
    GOODBYE_S,
    INPUT_FORMAT,
    MESSAGE_CHARS,
    MESSAGES_AT_MOST,
    OUTPUT_FORMAT,
    SPOKEN_OUT_S,
    Receptionist,
)
from edge_node.agent.tools import Tool
from edge_node.agent.transport import AudioOutputDelta, Error, SpeechStarted, ToolCall
from edge_node.call.effects import CallView, Phase
from edge_node.errors import RealtimeAgentError
from edge_node.media.voice.track import CustomAudioStreamTrack
from edge_node.ports import BLOCK_FRAMES
from tests.agent.scripted import ScriptedTransport
from tests.support.virtual_time import in_virtual_time, now_s
from tests.support.waiting import settle

TALKS = CallView(Phase.ACTIVE, "c1", attended=True)
OVER = CallView(Phase.IDLE, "c1", attended=True)
BLOCK = np.full(BLOCK_FRAMES, 1000, np.int16)
SECOND = bytes(48_000)
"""Of speech at 24 kHz."""


class Desk:
    def __init__(self) -> None:
        self.tracks: list[CustomAudioStreamTrack] = []
        self.messages: list[tuple[str, str]] = []
        self.ended: list[str] = []
        self.troubles: list[str | None] = []

    def play(self, track: CustomAudioStreamTrack) -> None:
        self.tracks.append(track)

    def pass_on(self, call: str, text: str) -> None:
        self.messages.append((call, text))

    def done(self, call: str) -> None:
        self.ended.append(call)

    def able(self, trouble: str | None) -> None:
        self.troubles.append(trouble)


class Rig:
    """A receptionist with a service that does what a test says."""

    def __init__(self) -> None:
        self.services: list[ScriptedTransport] = []
        self.next = ScriptedTransport()
        self.desk = Desk()
        self.it = Receptionist(self._begin, self.desk)

    def _begin(self, tools: Iterable[Tool]) -> RealtimeAgent:
        self.services.append(self.next)
        return RealtimeAgent(
            "Greet.", self.next, tools, input_audio_format=INPUT_FORMAT, output_audio_format=OUTPUT_FORMAT,
            raise_on_error=False,
        )  # fmt: skip

    @property
    def track(self) -> CustomAudioStreamTrack:
        return self.desk.tracks[-1]

    async def call(self, name: str, **arguments: str) -> str:
        """The model asks for a tool; what it is told."""
        before = len(self.next.of("result"))
        self.next.come.put_nowait(ToolCall(f"{name}-{before}", name, json.dumps(arguments)))
        await settle()
        result = self.next.of("result")[before]
        assert isinstance(result, tuple)
        return str(result[1])


@asynccontextmanager
async def talking(rig: Rig) -> AsyncIterator[None]:
    work = asyncio.create_task(rig.it.run())
    await settle()
    rig.it.call_changed(TALKS)
    await settle()
    try:
        yield
    finally:
        work.cancel()
        await asyncio.wait([work])
        assert work.cancelled()


@in_virtual_time
async def test_it_talks_as_long_as_the_call_lasts() -> None:
    rig = Rig()
    rig.it.hear(BLOCK)
    async with talking(rig):
        rig.it.call_changed(TALKS)
        assert rig.next.session is not None and rig.next.session.system == "Greet."
        assert [tool.name for tool in rig.next.session.tools] == ["tell_residents", "hang_up"]
        assert rig.next.of("audio") == [], "what was said before the call is nobody's business"
        rig.it.hear(BLOCK)
        await settle()
        assert rig.next.of("audio")
        rig.next.come.put_nowait(AudioOutputDelta(SECOND))
        await settle()
        assert rig.track.buffered_s == pytest.approx(1.0, abs=0.1)
        rig.next.come.put_nowait(SpeechStarted())
        await settle()
        assert rig.track.buffered_s == 0.0, "the visitor breaks in"
        rig.it.call_changed(OVER)
        await settle()
        assert rig.next.of("close") and rig.track.readyState == "ended"
        assert rig.desk.ended == []
        rig.it.call_changed(CallView(Phase.ACTIVE, "c2", "anna"))
        await settle()
        assert len(rig.services) == 1, "people talk"


@in_virtual_time
async def test_the_next_call_has_a_conversation_of_its_own() -> None:
    rig = Rig()
    async with talking(rig):
        first, rig.next = rig.next, ScriptedTransport()
        rig.it.call_changed(CallView(Phase.ACTIVE, "c2", attended=True))
        await settle()
        assert first.of("close")
        assert rig.services == [first, rig.next]


@in_virtual_time
async def test_messages_are_passed_on_but_not_without_end() -> None:
    rig = Rig()
    async with talking(rig):
        assert await rig.call("tell_residents", text="The post, with a parcel.") == "It is passed on."
        assert rig.desk.messages == [("c1", "The post, with a parcel.")]
        for _ in range(MESSAGES_AT_MOST):
            told = await rig.call("tell_residents", text="x" * 2000)
        assert told.startswith("The residents have enough")
        assert [len(text) for _, text in rig.desk.messages[1:]] == [MESSAGE_CHARS] * (MESSAGES_AT_MOST - 1)


@in_virtual_time
async def test_it_goes_when_its_last_sentence_was_heard() -> None:
    rig = Rig()
    async with talking(rig):
        listener = asyncio.create_task(listen(rig.track))
        await rig.call("hang_up")
        rig.next.come.put_nowait(AudioOutputDelta(SECOND * 3))
        began = now_s()
        await asyncio.sleep(2.5)
        assert rig.desk.ended == []
        while not rig.desk.ended:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert 3.0 + SPOKEN_OUT_S <= now_s() - began <= 3.5 + SPOKEN_OUT_S
        assert rig.next.of("close")
        await listener


@in_virtual_time
async def test_a_goodbye_without_end_is_cut() -> None:
    rig = Rig()
    async with talking(rig):
        await rig.call("hang_up")
        rig.next.come.put_nowait(AudioOutputDelta(SECOND))  # nobody plays it
        await asyncio.sleep(GOODBYE_S - 0.5)
        assert rig.desk.ended == []
        await asyncio.sleep(1)
        assert rig.desk.ended == ["c1"]


async def listen(track: CustomAudioStreamTrack) -> None:
    """As the playback does."""
    try:
        while True:
            await track.recv()
    except Exception:
        assert track.readyState == "ended"


@in_virtual_time
async def test_a_service_that_is_not_there_or_goes() -> None:
    rig = Rig()
    rig.next.fails["connect"] = RealtimeAgentError("no such host")
    async with talking(rig):
        assert rig.desk.ended == ["c1"]
        assert rig.desk.troubles == ["the last visitor could not be talked to: no such host"]
        assert rig.track.readyState == "ended"
        await settle()
        assert len(rig.services) == 1, "not again for the same call"
        rig.next = ScriptedTransport()
        rig.it.call_changed(OVER)
        rig.it.call_changed(CallView(Phase.ACTIVE, "c2", attended=True))
        await settle()
        rig.next.come.put_nowait(Error("a word it did not like"))
        await settle()
        assert rig.desk.troubles[-1] is None
        assert rig.desk.ended == ["c1"], "it goes on after an error"
        rig.next.come.put_nowait(None)
        await settle()
        assert rig.desk.ended == ["c1", "c2"]


@in_virtual_time
async def test_a_mistake_in_a_transport_ends_one_talk_only(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()

    def broken(tools: Iterable[Tool]) -> RealtimeAgent:
        raise ZeroDivisionError

    rig.it = Receptionist(broken, rig.desk)
    async with talking(rig):
        assert rig.desk.ended == ["c1"]
        assert "the voice agent failed" in caplog.text


@in_virtual_time
async def test_a_service_that_takes_no_sound_loses_the_oldest() -> None:
    rig = Rig()
    async with talking(rig):
        for _ in range(60):
            rig.it.hear(BLOCK)
        assert rig.it.dropped_blocks == 10
