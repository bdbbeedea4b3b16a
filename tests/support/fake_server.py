"""A signalling server inside the test: it hears every frame and says what the test wants."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from edge_node.ports import WireClosed
from edge_node.protocol.codec import encode
from edge_node.protocol.frames import Ack, ServerFrame, Welcome
from edge_node.realtime.client import SignallingClient
from tests.support.waiting import eventually

WELCOME = Welcome("me", None, 1, 65536)
Answer = Callable[[dict[str, Any]], ServerFrame | None]


def acknowledge(frame: dict[str, Any]) -> ServerFrame | None:
    """The answer of a server that likes everything."""
    return Ack(frame["requestId"]) if "requestId" in frame else None


def ignore(frame: dict[str, Any]) -> None:
    """The answer of a server that says nothing."""


class FakeWire:
    """ports.Wire, seen from the server: `sent` is what the client said, hear() is what it hears."""

    def __init__(self, answer: Answer) -> None:
        self.sent: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self.closed_with: tuple[int, str] | None = None
        self.closed_at: float | None = None
        self.may_send = asyncio.Event()
        self.may_send.set()
        self.may_close = asyncio.Event()
        self.may_close.set()
        self._answer = answer
        self._inbox: asyncio.Queue[str | bytes | WireClosed] = asyncio.Queue()

    def hear(self, *frames: ServerFrame | str | bytes | WireClosed) -> None:
        for frame in frames:
            self._inbox.put_nowait(frame if isinstance(frame, str | bytes | WireClosed) else encode(frame))

    def asked(self, kind: str) -> list[dict[str, Any]]:
        """The frames of one type."""
        return [frame for frame in self.sent if frame["type"] == kind]

    async def send(self, text: str) -> None:
        await self.may_send.wait()
        self.texts.append(text)
        self.sent.append(json.loads(text))
        if (answer := self._answer(self.sent[-1])) is not None:
            self.hear(answer)

    async def recv(self) -> str | bytes:
        item = await self._inbox.get()
        if isinstance(item, WireClosed):
            raise item
        return item

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self.closed_with, self.closed_at = (code, reason), asyncio.get_running_loop().time()
        await self.may_close.wait()


class FakeServer:
    """Any number of connections one after the other; `connect` is a ports.Connect.

    `greeting` is said on each new wire; `refusal` refuses every attempt; `answer` answers each frame of the client's.
    """

    def __init__(self, greeting: ServerFrame | WireClosed | None = WELCOME, answer: Answer = acknowledge) -> None:
        self.greeting = greeting
        self.refusal: WireClosed | None = None
        self.answer = answer
        self.attempts: list[float] = []
        self.urls: list[str] = []
        self.wires: list[FakeWire] = []

    @property
    def wire(self) -> FakeWire:
        """The newest connection."""
        return self.wires[-1]

    @property
    def pauses(self) -> list[float]:
        """Seconds between one attempt and the next."""
        return [round(b - a, 6) for a, b in zip(self.attempts, self.attempts[1:], strict=False)]

    async def connect(self, url: str) -> FakeWire:
        self.attempts.append(asyncio.get_running_loop().time())
        self.urls.append(url)
        if self.refusal is not None:
            raise self.refusal
        wire = FakeWire(lambda frame: self.answer(frame))
        self.wires.append(wire)
        if self.greeting is not None:
            wire.hear(self.greeting)
        return wire

    def client(self, **options: Any) -> SignallingClient:
        """A client of this server."""
        if "token_provider" not in options:
            options.setdefault("api_key", "pk_secret")
        return SignallingClient(url="ws://localhost", connect=self.connect, **options)

    async def connected(self, **options: Any) -> SignallingClient:
        """A client that is connected."""
        client = self.client(**options)
        await client.connect()
        return client

    async def lose(self, client: SignallingClient, code: int = 1006, reason: str = "") -> None:
        """Breaks the newest connection and waits until the client knows."""
        wire = self.wire
        wire.hear(WireClosed(code, reason))
        # A client that comes back within a few milliseconds may be connected again before anybody looks.
        await eventually(lambda: client.state != "connected" or self.wire is not wire)

    async def restore(self, client: SignallingClient, code: int = 1006) -> None:
        """Breaks the newest connection and waits until the client has made another one."""
        count = len(self.wires)
        await self.lose(client, code)
        await eventually(lambda: client.state == "connected" and len(self.wires) > count, 100)
