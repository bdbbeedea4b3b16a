"""A plain WebSocket client for talking to a real hub, frame by frame."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from edge_node.hub.config import hub_config
from edge_node.hub.server import Hub

DEADLINE_S = 30.0
SECRET_ID = "sk_id_test"
SECRET = "sk_secret_" + "s" * 32


@asynccontextmanager
async def running_hub(simulator: bool = False, **values: Any) -> AsyncIterator[Hub]:
    """A hub on a free port of this machine, with one secret pair and a development key."""
    given = {"port": 0, "dev_key": "pk_dev_test", "secret": [{"id": SECRET_ID, "secret": SECRET}]} | values
    hub = Hub(hub_config(given), simulator=simulator)
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop(1)


class Client:
    """One connection; every wait has a deadline."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.peer_id = ""
        self.welcome: dict[str, Any] = {}

    async def frame(self) -> dict[str, Any]:
        """The next frame."""
        async with asyncio.timeout(DEADLINE_S):
            frame: dict[str, Any] = json.loads(await self.socket.recv())
        return frame

    async def until(self, kind: str) -> dict[str, Any]:
        """The next frame of this type; others before it are thrown away."""
        while (frame := await self.frame())["type"] != kind:
            pass
        return frame

    async def say(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def ask(self, **frame: Any) -> dict[str, Any]:
        """Says it with a request id and gives the answer."""
        await self.say(requestId="r", **frame)
        while (answer := await self.frame()).get("requestId") != "r":
            pass
        return answer

    async def join(self, channel: str) -> dict[str, Any]:
        """Subscribes and gives the roster."""
        assert (await self.ask(type="subscribe", channel=channel))["type"] == "ack"
        return await self.until("presence")

    async def close_code(self) -> int | None:
        """Reads to the end and gives the code the hub closed with."""
        try:
            while True:
                await self.frame()
        except websockets.ConnectionClosed:
            return self.socket.close_code


@asynccontextmanager
async def client(hub: Hub, query: str | None = None, **options: Any) -> AsyncIterator[Client]:
    """Connects with the development key, or with another query, and reads the welcome if there is one."""
    # websockets stops reading when 16 messages wait, and then cannot see the answer to its own close either.
    options = {"max_queue": None} | options
    async with websockets.connect(f"{hub.url}/v1?{query or f'key={hub.dev_key}'}", **options) as socket:
        it = Client(socket)
        try:
            it.welcome = await it.frame()
            it.peer_id = it.welcome["peerId"]
        except websockets.ConnectionClosed:
            pass
        yield it


async def refused_with(hub: Hub, query: str, **options: Any) -> int | None:
    """The close code of a connection that gets no welcome."""
    async with client(hub, query, **options) as it:
        assert not it.welcome, "a welcome came"
        return await it.close_code()
