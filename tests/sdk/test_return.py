"""A program that is killed and comes back with the same id before the hub gave it up."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from metered_realtime import peer as official

from edge_node.protocol import payloads
from edge_node.realtime.events import ConnectionReset, PeerJoined, PeerLeft
from edge_node.realtime.peer import GREETED_PEERS
from edge_node.realtime.streams import MediaStream
from tests.support.fake_server import FakeServer
from tests.support.hub_client import running_hub
from tests.support.interop_call import near
from tests.support.interop_programs import OURS, Program, killable
from tests.support.interop_wire import Line
from tests.support.members import with_company
from tests.support.peers import ORDERS, Tone, Watcher, hears, peer_of, token
from tests.support.virtual_time import in_virtual_time
from tests.support.waiting import eventually

# Far below what ICE needs to see that a path is dead: 30 s (RFC 7675 section 5.1).
BACK_S = 15.0


async def killed_and_back(order: tuple[str, str], *, hub_notices: bool, returner_sends: bool) -> None:
    """The survivor's media are heard by the second program, which nobody announced."""
    survivor_id, returner_id = order
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(running_hub(limits={"leave_grace_s": 60.0}))
        line = await stack.enter_async_context(Line(hub.port, hides_ends=not hub_notices))
        survivor = await stack.enter_async_context(peer_of(hub, survivor_id))
        watcher, events = Watcher(survivor), list[Any]()
        for kind in (PeerJoined, PeerLeft):
            survivor.on(kind, events.append)
        survivor.on(PeerJoined, lambda e: e.peer.on(ConnectionReset, events.append))
        survivor.add_track(Tone(440), MediaStream(id="voice"), {"role": "microphone"})
        await survivor.join("room")

        async def hear(one: Program) -> None:
            await one.tell("start", url=line.url, token=token(returner_id))
            if returner_sends:
                await one.tell("publish", kind="audio", stream="back", metadata={}, hz=1000)
            await one.tell("join", channel="room")
            await one.event("heard", lambda e: near(e["hz"], 440), timeout_s=BACK_S)
            track = await one.event("track", kind="audio")
            assert (track["streams"], track["metadata"]) == (["voice"], {"role": "microphone"})

        async with killable(OURS) as (first, child):
            await hear(first)
            if returner_sends:
                await hears(await watcher.track("audio"), 1000)
            child.kill()
            await child.end()
        async with killable(OURS) as (second, _):
            began = time.monotonic()
            await hear(second)
            if returner_sends:
                await hears(await watcher.track("audio", 1), 1000)
            print(f"back {time.monotonic() - began:.2f} s after its start")
        assert [type(event) for event in events] == [PeerJoined, ConnectionReset]


@pytest.mark.parametrize("hub_notices", [True, False], ids=["within the grace", "before the hub notices"])
@pytest.mark.parametrize("returner_sends", [True, False], ids=["both send", "it only listens"])
async def test_media_are_back_without_waiting_for_consent(hub_notices: bool, returner_sends: bool) -> None:
    await asyncio.gather(
        *(killed_and_back(order, hub_notices=hub_notices, returner_sends=returner_sends) for order in ORDERS)
    )


@in_virtual_time
async def test_a_large_audience_is_not_greeted_one_by_one() -> None:
    """A hub closes connections that send more than 200 frames at once."""
    server = FakeServer()
    peer = await with_company(server, *(f"p{number:03}" for number in range(250)))
    await eventually(lambda: server.wire.asked("send"))
    await asyncio.sleep(1)
    assert len(server.wire.asked("send")) == GREETED_PEERS
    await peer.close()


def test_the_official_sdk_takes_a_hello_for_the_clear_of_a_track_it_never_knew() -> None:
    """The JS SDK does as well: tests/interop sees that no program hears of it as Data."""
    for hello in (payloads.Hello("me"), payloads.Hello("me", "you")):
        meta = official._parse_track_meta(payloads.hello(hello))
        assert meta is not None and (meta.track_id, meta.metadata) == (payloads.EPOCH_TRACK, None)
