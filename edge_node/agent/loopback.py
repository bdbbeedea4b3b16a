"""A speech service without a service: it says again what it has heard."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Literal

import numpy as np

from edge_node.agent.transport import AudioOutputDelta, Session, SpeechStarted, ToolCall, TransportEvent, TurnComplete
from edge_node.dsp.blocks import Blocks
from edge_node.dsp.level import dbfs
from edge_node.dsp.pcm import Pcm, Resampler

BLOCK_S = 0.02
CHUNK_S = 0.1
MAX_TURN_S = 30.0
"""Whoever speaks for longer is answered meanwhile."""
MAX_WAITING = 64


class TurnDetector:
    """Tells by loudness alone when somebody speaks; times are seconds of one clock."""

    def __init__(self, start_dbfs: float = -40.0, start_blocks: int = 3, silence_s: float = 0.6) -> None:
        """Speech begins with start_blocks loud blocks in a row, and ends silence_s after the last loud one."""
        self._start_dbfs = start_dbfs
        self._start_blocks = start_blocks
        self._silence_s = silence_s
        self._loud = 0
        self._last = 0.0
        self.speaking = False

    @property
    def deadline(self) -> float | None:
        """When tick() is due, should nothing more be heard; None outside a turn."""
        return self._last + self._silence_s if self.speaking else None

    @property
    def listening(self) -> bool:
        """Whether the latest block belongs to a turn, or may be the beginning of one."""
        return self._loud > 0

    def hear(self, level_dbfs: float, at: float) -> Literal["started", "ended"] | None:
        """One block, and when it ended."""
        if level_dbfs >= self._start_dbfs:
            self._loud += 1
            self._last = at
        elif not self.speaking:
            self._loud = 0
        if not self.speaking and self._loud >= self._start_blocks:
            self.speaking = True
            return "started"
        return self.tick(at)

    def tick(self, now: float) -> Literal["ended"] | None:
        """Ends the turn when its silence has lasted long enough."""
        if self.deadline is None or now < self.deadline:
            return None
        self.stop()
        return "ended"

    def stop(self) -> None:
        """The turn is over."""
        self.speaking = False
        self._loud = 0


class LoopbackTransport:
    """A RealtimeTransport on this machine alone: each turn comes back, in chunks of CHUNK_S, as fast as it was said.

    `calls` are made one per turn, before its answer, which waits for the result; `results` has what was replied. A new
    turn takes the place of an answer that is still being said.
    """

    def __init__(
        self,
        input_rate: int = 16_000,
        output_rate: int = 24_000,
        *,
        calls: Iterable[tuple[str, Mapping[str, Any]]] = (),
        turns: TurnDetector | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """`clock` gives seconds at the pace of the event loop, whose own time is the default."""
        self.input_rate = input_rate
        self.output_rate = output_rate
        self.session: Session | None = None
        self.results: list[tuple[str, str]] = []
        self._calls = deque(calls)
        self._made = 0
        self._turns = turns or TurnDetector()
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._blocks = Blocks(round(input_rate * BLOCK_S))
        self._turn: deque[Pcm] = deque(maxlen=round(MAX_TURN_S / BLOCK_S))
        self._events: deque[TransportEvent] = deque(maxlen=MAX_WAITING)
        self._asked: tuple[str, list[Pcm]] | None = None
        self._answer: deque[bytes] = deque()
        self._next_at = 0.0
        self._wake = asyncio.Event()
        self._closed = False

    async def connect(self, session: Session) -> None:
        """Keeps the session for whoever wants to look at it."""
        self.session = session

    async def send_audio(self, pcm: bytes) -> None:
        """Listens; the sound is taken to end now."""
        blocks = self._blocks.push(np.frombuffer(pcm, "<i2").astype(np.int16))
        begun = self._clock() - len(blocks) * BLOCK_S
        for index, block in enumerate(blocks, 1):
            self._hear(block, begun + index * BLOCK_S)
        self._wake.set()

    def _hear(self, block: Pcm, at: float) -> None:
        change = self._turns.hear(dbfs(block), at)
        if change == "started":
            self._events.append(SpeechStarted())
        if self._turns.listening or change == "ended":
            self._turn.append(block)
        else:
            self._turn.clear()
        if self._turns.speaking and len(self._turn) == self._turn.maxlen:
            self._turns.stop()
            change = "ended"
        if change == "ended":
            self._ended()

    def _ended(self) -> None:
        heard = list(self._turn)
        self._turn.clear()
        if not self._calls:
            self._say(heard)
            return
        name, arguments = self._calls.popleft()
        self._made += 1
        self._asked = (f"call-{self._made}", heard)
        self._events.append(ToolCall(self._asked[0], name, json.dumps(arguments)))

    def _say(self, heard: list[Pcm]) -> None:
        size = round(self.output_rate * CHUNK_S) * 2
        said = Resampler(self.input_rate, self.output_rate).push(np.concatenate(heard)).astype("<i2").tobytes()
        self._answer = deque(said[at : at + size] for at in range(0, len(said), size))
        self._next_at = self._clock()
        self._wake.set()

    async def send_tool_result(self, call_id: str, text: str) -> None:
        """The answer that has waited for it follows."""
        if self._asked is not None and self._asked[0] == call_id:
            self.results.append((call_id, text))
            self._say(self._asked[1])
            self._asked = None

    async def cancel(self) -> None:
        """Falls silent; a turn that is being heard goes on."""
        self._asked = None
        self._answer.clear()
        self._events = deque((e for e in self._events if isinstance(e, SpeechStarted)), MAX_WAITING)

    async def receive(self) -> AsyncIterator[TransportEvent]:
        """What was heard and said, until close()."""
        while not self._closed:
            event = self._due(self._clock())
            if event is not None:
                yield event
                continue
            self._wake.clear()
            due = [at for at in (self._turns.deadline, self._next_at if self._answer else None) if at is not None]
            with suppress(TimeoutError):
                async with asyncio.timeout(min(due) - self._clock() if due else None):
                    await self._wake.wait()

    def _due(self, now: float) -> TransportEvent | None:
        if self._turns.tick(now) == "ended":
            self._ended()
        if self._events:
            return self._events.popleft()
        if not self._answer or now < self._next_at:
            return None
        self._next_at += CHUNK_S
        chunk = self._answer.popleft()
        if not self._answer:
            self._events.append(TurnComplete())
        return AudioOutputDelta(chunk)

    async def close(self) -> None:
        """Ends receive()."""
        self._closed = True
        self._wake.set()
