"""A node made of bare aiortc that never offers media: the console has to ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import av
import numpy as np
import websockets
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription, VideoStreamTrack
from aiortc.sdp import candidate_from_sdp

from edge_node.hub.server import Hub
from tests.support.hub_client import Client, client

CHANNEL = "home/front-door"


class MovingPicture(VideoStreamTrack):
    """Grey that changes with every picture."""

    async def recv(self) -> av.VideoFrame:
        pts, time_base = await self.next_timestamp()
        grey = np.full((180, 320, 3), pts // 3000 % 256, np.uint8)
        frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class QuietNode:
    """Describes itself, answers offers, and hears the page's messages in `heard`."""

    def __init__(self, wire: Client, node: str, name: str) -> None:
        self._wire = wire
        self._description = {"type": "node.description", "id": node, "name": name, "role": "door", "doors": ["door"]}
        self._connections: dict[str, RTCPeerConnection] = {}
        self.heard: list[dict[str, Any]] = []
        self.offers = 0

    @property
    def peers(self) -> list[str]:
        """Who has a connection."""
        return list(self._connections)

    async def send(self, to: str, data: Any) -> None:
        await self._wire.say(type="send", to=to, data=data)

    async def say(self, data: Any, channel: str = CHANNEL) -> None:
        await self._wire.say(type="publish", channel=channel, data=data)

    async def lose_media(self) -> None:
        """Every connection ends, as in a crash."""
        connections, self._connections = self._connections, {}
        for connection in connections.values():
            await connection.close()

    async def run(self) -> None:
        while True:
            try:
                frame = await self._wire.frame()
            except TimeoutError:
                continue
            except websockets.ConnectionClosed:
                return
            if frame["type"] == "direct":
                await self._direct(frame["from"], frame["data"])

    async def _direct(self, peer: str, data: dict[str, Any]) -> None:
        match data.get("type"):
            case "node.describe":
                await self.send(peer, self._description)
            case "rtc-description" if data["description"]["type"] == "offer":
                await self._answer(peer, data["description"])
            case "rtc-ice":
                await self._candidate(peer, data["candidate"])
            case str():
                self.heard.append(data)

    async def _answer(self, peer: str, offer: dict[str, str]) -> None:
        self.offers += 1
        connection = self._connections.get(peer)
        if connection is None:
            connection = self._connections[peer] = RTCPeerConnection(RTCConfiguration(iceServers=[]))
            connection.addTrack(MovingPicture())
        await connection.setRemoteDescription(RTCSessionDescription(offer["sdp"], offer["type"]))
        await connection.setLocalDescription(await connection.createAnswer())
        answer = connection.localDescription
        await self.send(peer, {"type": "rtc-description", "description": {"type": answer.type, "sdp": answer.sdp}})

    async def _candidate(self, peer: str, given: dict[str, Any] | None) -> None:
        connection = self._connections.get(peer)
        if connection is None or not given or not given.get("candidate"):
            return
        candidate = candidate_from_sdp(given["candidate"].removeprefix("candidate:"))
        candidate.sdpMid, candidate.sdpMLineIndex = given["sdpMid"], given["sdpMLineIndex"]
        await connection.addIceCandidate(candidate)


@asynccontextmanager
async def quiet_node(
    hub: Hub, node: str = "front-door", name: str = "Front door", query: str | None = None
) -> AsyncIterator[QuietNode]:
    """On the channel of the hub's console until the end of the block; `query` is its credential."""
    async with client(hub, query) as wire:
        await wire.join(CHANNEL)
        it = QuietNode(wire, node, name)
        work = asyncio.create_task(it.run())
        try:
            yield it
        finally:
            work.cancel()
            await asyncio.wait([work])
            await it.lose_media()
