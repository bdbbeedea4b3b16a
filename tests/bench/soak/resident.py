"""Somebody at the other end who answers rings, opens the door, hangs up."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

from edge_node.aio.tasks import TaskGroup
from edge_node.errors import EdgeNodeError
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.events import Connected, Direct, Message
from tests.bench.soak.world import JumpyClock, Network

CHANNEL = "home/front-door"
TALK_S = 12.0


class Resident:
    """Speaks signalling only: no media can flow where time does not."""

    def __init__(self, network: Network, clock: JumpyClock, telemetry: str) -> None:
        self._clock = clock
        self._telemetry = telemetry
        self._client = SignallingClient(
            api_key="pk_resident",
            url="ws://127.0.0.1:1",
            connect=network.connect_resident("resident-anna"),
            connect_retry=True,
        )
        self._client.on(Connected, lambda e: self._connected())
        self._client.on(Message, lambda e: self._message(e.channel, e.sender_peer_id, e.data))
        self._client.on(Direct, lambda e: self._direct(e.data))
        self._work = TaskGroup("resident")
        self._nonces = count(1)
        self._call = ""
        self.connected_at = 0.0
        self.answered = self.opened = self.refused = self.samples = self.late = 0

    async def start(self) -> None:
        await self._client.connect()
        for channel in (CHANNEL, self._telemetry):
            await self._client.subscribe(channel)

    async def close(self) -> None:
        await self._work.close()
        await self._client.close()

    def _connected(self) -> None:
        self.connected_at = asyncio.get_running_loop().time()

    def _message(self, channel: str, sender: str, data: Any) -> None:
        if not isinstance(data, dict):
            return
        if channel == self._telemetry:
            self.samples += 1
            self.late += data.get("late") is True
        elif data.get("type") == "call.ring" and data["call"] != self._call:
            self._call = data["call"]
            self._work.spawn(self._talk(sender, self._call), "talk")

    def _direct(self, data: Any) -> None:
        if isinstance(data, dict) and data.get("type") == "door.result":
            self.opened += data.get("ok") is True
            self.refused += data.get("ok") is not True

    async def _talk(self, node: str, call: str) -> None:
        try:
            await self._client.send(node, {"type": "call.answer", "call": call})
            self.answered += 1
            await asyncio.sleep(TALK_S / 2)
            nonce = f"n{next(self._nonces)}"
            at = self._clock.wall() - self._clock.shift_s  # the phone knows the time
            await self._client.send(node, {"type": "door.open", "door": "door", "nonce": nonce, "at": at, "call": call})
            await asyncio.sleep(TALK_S / 2)
            await self._client.send(node, {"type": "call.hangup", "call": call})
        except EdgeNodeError:
            return  # the hub has just gone
