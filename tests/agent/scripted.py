"""A service that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from edge_node.agent.transport import Session, TransportEvent
from edge_node.errors import RealtimeAgentError


class ScriptedTransport:
    """A RealtimeTransport: `come` is what receive() gives, an exception is raised, None is the end."""

    def __init__(self, input_rate: int = 16_000, output_rate: int = 24_000) -> None:
        self.input_rate = input_rate
        self.output_rate = output_rate
        self.come: asyncio.Queue[TransportEvent | Exception | None] = asyncio.Queue()
        self.done: list[tuple[str, object]] = []
        self.session: Session | None = None
        self.fails: dict[str, Exception] = {}
        self.hangs: set[str] = set()

    async def _do(self, what: str, value: object = None) -> None:
        self.done.append((what, value))
        if what in self.hangs:
            await asyncio.Event().wait()
        if what in self.fails:
            raise self.fails[what]

    def of(self, what: str) -> list[object]:
        return [value for name, value in self.done if name == what]

    async def connect(self, session: Session) -> None:
        self.session = session
        await self._do("connect")

    async def send_audio(self, pcm: bytes) -> None:
        await self._do("audio", pcm)

    async def send_tool_result(self, call_id: str, text: str) -> None:
        await self._do("result", (call_id, text))

    async def cancel(self) -> None:
        await self._do("cancel")

    async def receive(self) -> AsyncIterator[TransportEvent]:
        while (event := await self.come.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    async def close(self) -> None:
        await self._do("close")


LOST = RealtimeAgentError("the service closed the session (1011): begin another", "1011")
