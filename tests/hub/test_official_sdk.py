"""The official SDK's signalling client against our hub: an independent reading of the protocol."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from metered_realtime import SignallingClient
from metered_realtime.errors import ServerRequestError, SignallingConnectError
from metered_realtime.events import Connected, Direct, Disconnected, GoingAway, Message, Presence
from metered_realtime.options import ReconnectOptions, SubscribeOptions

from edge_node.hub.server import Hub
from tests.support.hub_client import SECRET_ID, running_hub
from tests.support.waiting import eventually

EVENTS = (Connected, Direct, Disconnected, GoingAway, Message, Presence)
FAST = ReconnectOptions(initial_delay=0.05, max_delay=0.2)


class Person:
    """A connected client with everything it heard."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.heard: list[Any] = []
        for event in EVENTS:
            client.on(event, self.heard.append)

    def all(self, kind: type) -> list[Any]:
        return [event for event in self.heard if type(event) is kind]

    @property
    def peer_id(self) -> str:
        return str(self.all(Connected)[-1].peer_id)


@asynccontextmanager
async def person(hub: Hub, name: str | None = None, **options: Any) -> AsyncIterator[Person]:
    """Someone with the development key, or with a token under this name."""

    async def token() -> str:
        claims = {
            "sub": name,
            "exp": int(time.time()) + 60,
            "channels": ["home/*"],
            "permissions": ["publish", "subscribe", "presence", "send"],
            "peerMetadata": {"name": name},
        }
        return hub.keys.mint(SECRET_ID, claims)

    credential: dict[str, Any] = {"api_key": hub.dev_key} if name is None else {"token_provider": token}
    client = SignallingClient(url=hub.url, reconnect=FAST, **credential, **options)
    it = Person(client)
    await client.connect()
    try:
        yield it
    finally:
        await client.close()


async def test_publish_direct_and_presence() -> None:
    async with running_hub() as hub, person(hub, "anna") as anna, person(hub) as door:
        assert anna.peer_id == "anna"
        await anna.client.subscribe("home/door")
        await door.client.subscribe("home/door", SubscribeOptions(include_sender_metadata=True))
        await eventually(lambda: len(anna.all(Presence)) == 2)
        assert [p.peer_id for p in anna.all(Presence)[1].joined] == [door.peer_id]
        snapshot = door.all(Presence)[0]
        assert [(p.peer_id, p.metadata) for p in snapshot.joined] == [("anna", {"name": "anna"})]
        await anna.client.publish("home/door", {"n": 1})
        await door.client.send("anna", "direct")
        await eventually(lambda: door.all(Message) and anna.all(Direct))
        message = door.all(Message)[0]
        assert (message.sender_peer_id, message.data, message.sender_metadata) == ("anna", {"n": 1}, {"name": "anna"})
        assert anna.all(Direct)[0].data == "direct" and not anna.all(Message)
        await door.client.unsubscribe("home/door")
        await eventually(lambda: len(anna.all(Presence)) == 3)
        assert [p.peer_id for p in anna.all(Presence)[2].left] == [door.peer_id]
        with pytest.raises(ServerRequestError) as refused:
            await anna.client.subscribe("work")
        assert refused.value.code == "channel_not_authorized"


async def test_a_wrong_key_is_told() -> None:
    async with running_hub() as hub:
        client = SignallingClient(url=hub.url, api_key="pk_live_wrong")
        with pytest.raises(SignallingConnectError) as refused:
            await client.connect()
        assert refused.value.close_code == 4001
        await client.close()


async def test_after_a_restart_everybody_meets_again() -> None:
    async with running_hub() as hub, person(hub, "anna") as anna, person(hub, "door") as door:
        for one in (anna, door):
            await one.client.subscribe("home/door")
        await hub.stop(1)
        await eventually(lambda: anna.all(Disconnected) and door.all(Disconnected))
        assert anna.all(GoingAway)[0].retry_after_ms == 1000 and anna.all(Disconnected)[0].code == 1001
        await hub.start()
        await eventually(lambda: len(anna.all(Connected)) == len(door.all(Connected)) == 2)
        await eventually(lambda: {p.peer_id for e in anna.all(Presence)[2:] for p in e.joined} == {"door"})
        await hub.abort()
        await hub.start()
        await eventually(lambda: len(anna.all(Connected)) == len(door.all(Connected)) == 3)
        await eventually(lambda: len(hub._switchboard.machine.peers("home/door")) == 2)
        await door.client.publish("home/door", "again")
        await eventually(lambda: anna.all(Message))
