"""A voice agent that talks with a visitor whom nobody answers."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from edge_node.agent.agent import RealtimeAgent, play
from edge_node.agent.tools import Tool
from edge_node.aio.tasks import cancel_and_wait
from edge_node.call.effects import CallView, Phase
from edge_node.dsp.pcm import Pcm
from edge_node.errors import RealtimeAgentError
from edge_node.media.voice.track import CustomAudioStreamTrack
from edge_node.ports import BLOCK_FRAMES, SAMPLE_RATE

log = logging.getLogger(__name__)

INPUT_FORMAT = f"audio/pcm;rate={SAMPLE_RATE}"
OUTPUT_FORMAT = "audio/pcm;rate=24000"
HEARD_S = 0.5
"""Of the microphone. Overflow rule: the oldest goes, and is counted."""
MESSAGES_AT_MOST = 5
MESSAGE_CHARS = 500
GOODBYE_S = 15.0
"""A last sentence may take so long."""
SPOKEN_OUT_S = 1.0
"""Nothing more to say for so long: it was said."""
LOOK_S = 0.1
END_S = 2.0

Begin = Callable[[Iterable[Tool]], RealtimeAgent]


class Desk(Protocol):
    """What a receptionist does besides talking; no call may block."""

    def play(self, track: CustomAudioStreamTrack) -> None:
        """Makes the track heard until it ends."""
        ...

    def pass_on(self, call: str, text: str) -> None:
        """Tells the residents."""
        ...

    def done(self, call: str) -> None:
        """The talk is over, whatever ended it."""
        ...

    def able(self, trouble: str | None) -> None:
        """Whether the service could be reached: None, or why not."""
        ...


class Receptionist:
    """One talk at a time, for as long as the call machine says that the agent talks. It can open no door.

    `begin(tools)` makes an agent for one session. hear() may come from any thread, the rest is the event loop's.
    """

    def __init__(self, begin: Begin, desk: Desk) -> None:
        self._begin = begin
        self._desk = desk
        self._call: str | None = None
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._listens = False
        self._blocks: deque[Pcm] = deque(maxlen=round(HEARD_S * SAMPLE_RATE / BLOCK_FRAMES))
        self._heard = asyncio.Event()
        self.dropped_blocks = 0

    def call_changed(self, view: CallView) -> None:
        """The call as it is now."""
        call = view.call if view.attended and view.phase is Phase.ACTIVE else None
        if call != self._call:
            self._call = call
            self._changed.set()

    def hear(self, pcm: Pcm) -> None:
        """A block of the microphone's."""
        if not self._listens:
            return
        self.dropped_blocks += len(self._blocks) == self._blocks.maxlen
        self._blocks.append(pcm)
        self._loop.call_soon_threadsafe(self._heard.set)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            while (call := self._call) is None:
                self._changed.clear()
                await self._changed.wait()
            if await self._while_in(call, self._talk(call)):
                self._desk.done(call)
                await self._until_not(call)

    async def _while_in(self, call: str, work: Coroutine[Any, Any, None]) -> bool:
        """Whether the work ended by itself before the call was over."""
        task = asyncio.create_task(work, name="receptionist:talk")
        over = asyncio.create_task(self._until_not(call), name="receptionist:over")
        try:
            await asyncio.wait((task, over), return_when=asyncio.FIRST_COMPLETED)
            return not over.done()
        finally:
            await cancel_and_wait(over)
            await cancel_and_wait(task, END_S)

    async def _until_not(self, call: str) -> None:
        while self._call == call:
            self._changed.clear()
            await self._changed.wait()

    async def _talk(self, call: str) -> None:
        track = CustomAudioStreamTrack()
        leaving = asyncio.Event()
        self._desk.play(track)
        try:
            async with self._begin(self._tools(call, leaving)) as agent:
                self._desk.able(None)
                log.info("the voice agent talks", extra={"event": "agent.talks", "call_id": call})
                await self._converse(agent, track, leaving)
        except RealtimeAgentError as err:
            log.warning("the voice agent cannot talk: %s", err)
            self._desk.able(f"the last visitor could not be talked to: {err}")
        except Exception:
            log.exception("the voice agent failed")
            self._desk.able("the voice agent failed: see the journal")
        finally:
            track.stop()

    async def _converse(self, agent: RealtimeAgent, track: CustomAudioStreamTrack, leaving: asyncio.Event) -> None:
        tasks = [
            asyncio.create_task(work, name="receptionist:voice")
            for work in (self._upload(agent), play(agent, _Speech(track)), _goodbye(track, leaving))
        ]
        self._blocks.clear()
        self._listens = True
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self._listens = False
            for task in tasks:
                await cancel_and_wait(task)

    async def _upload(self, agent: RealtimeAgent) -> None:
        while True:
            await self._heard.wait()
            self._heard.clear()
            while self._blocks:
                await agent.send(self._blocks.popleft().astype("<i2").tobytes())

    def _tools(self, call: str, leaving: asyncio.Event) -> list[Tool]:
        passed_on: list[str] = []

        async def tell_residents(text: str) -> str:
            """Passes on to the residents, in one or two sentences, who is at the door and why."""
            if len(passed_on) >= MESSAGES_AT_MOST:
                return "The residents have enough messages of this visitor: say goodbye."
            passed_on.append(text[:MESSAGE_CHARS])
            self._desk.pass_on(call, passed_on[-1])
            return "It is passed on."

        async def hang_up() -> str:
            """Ends the conversation, once the visitor has been told goodbye."""
            leaving.set()
            return "The conversation ends when you have said goodbye."

        return [Tool.of(tell_residents), Tool.of(hang_up)]


class _Speech:
    """agent.Plays on a track."""

    def __init__(self, track: CustomAudioStreamTrack) -> None:
        self.feed = track.add_new_bytes
        self.stop = track.interrupt


async def _goodbye(track: CustomAudioStreamTrack, leaving: asyncio.Event) -> None:
    """Returns when the agent wants to go, and its last sentence has been heard."""
    await leaving.wait()
    quiet_s = gone_s = 0.0
    while quiet_s < SPOKEN_OUT_S and gone_s < GOODBYE_S:
        await asyncio.sleep(LOOK_S)
        gone_s += LOOK_S
        quiet_s = 0.0 if track.buffered_s else quiet_s + LOOK_S
