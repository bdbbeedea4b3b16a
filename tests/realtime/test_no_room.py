"""A viewer for whom there is no room hears nothing, its publisher hears why, and pictures come when somebody leaves."""

from __future__ import annotations

import asyncio

from edge_node.errors import MeteredRealtimeError
from edge_node.media.seats import Seats
from edge_node.media.views import FanoutTrack
from edge_node.realtime.events import NegotiationError, PeerJoined
from edge_node.realtime.streams import MediaStream
from tests.support.hub_client import running_hub
from tests.support.peers import Watcher, peer_of
from tests.support.sent import Player, small_clip
from tests.support.waiting import eventually

FULL = "this board sends to 1 viewers at a time and no more: wait until one leaves"


async def test_the_second_viewer_of_one_waits_for_the_first_to_leave() -> None:
    seats = Seats()
    seats.set_most(1, FULL)
    track = FanoutTrack("video", "video/H264", seats=seats)
    track.keep_group(True)
    refused: list[tuple[str, Exception]] = []

    def joined(event: PeerJoined) -> None:
        remote = event.peer
        remote.on(NegotiationError, lambda e: refused.append((remote.id, e.err)))

    async with running_hub() as hub, Player(track, small_clip()):
        node, first, second = (peer_of(hub, name, ice_servers=[]) for name in ("node", "first", "second"))
        node.on(PeerJoined, joined)
        node.add_track(track, MediaStream(id="node:x"))
        watchers = Watcher(first), Watcher(second)
        await node.join("room")
        await first.join("room")
        await (await watchers[0].track("video")).recv()
        await second.join("room")
        await eventually(lambda: refused)
        ((name, error),) = refused
        assert (name, str(error)) == ("second", FULL) and isinstance(error, MeteredRealtimeError)
        waiting = asyncio.create_task((await watchers[1].track("video")).recv())
        assert (seats.taken, seats.waiting) == (1, 1)
        await first.close()
        assert (await asyncio.wait_for(waiting, 30)).width == 320
        assert (seats.taken, seats.waiting, len(refused)) == (1, 0, 1)
        await second.close()
        await node.close()
    track.close()
