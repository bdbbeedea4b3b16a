"""Our sender through a real TURN server."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from edge_node.media.views import FanoutTrack
from edge_node.realtime import aiortc_wire
from edge_node.realtime.aiortc_wire import Datagrams, Relayed
from tests.support.sent import FPS, Player, small_clip, viewing
from tests.support.turn import needs_turnserver, turn_server
from tests.support.waiting import eventually


@needs_turnserver
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_pictures_pass_a_relay_complete(tmp_path: Path, transport: str) -> None:
    track = FanoutTrack("video", "video/H264")
    async with (
        turn_server(tmp_path, transport) as server,
        viewing(track, ice_servers=(server,), relay_only=True) as viewed,
        Player(track, small_clip()),
    ):
        assert viewed.outlet.own is not None
        seen = await viewed.counters(60)
        assert all(b == (a + 1) % (2 * FPS) for a, b in pairwise(seen))
        wire = viewed.outlet.own._wire
        if transport == "tcp":
            assert isinstance(wire.route, Relayed)
        else:  # a channel is bound by now: many packets leave in one call
            assert isinstance(wire.route, Datagrams) and wire.route.prefix == 4
            assert wire.route._sock not in aiortc_wire._without_segments
        # A repair takes the same way.
        resent = viewed.outlet.own.counts.resent
        media = viewed.outlet.transceiver._codecs[0].payloadType
        seen_numbers: set[int] = set()

        def lose(payload_type: int, number: int) -> bool:
            first = number not in seen_numbers
            seen_numbers.add(number)
            return payload_type == media and first and number % 23 == 3

        viewed.lose = lose
        seen = await viewed.counters(40)
        assert all(b == (a + 1) % (2 * FPS) for a, b in pairwise(seen))
        await eventually(lambda: viewed.outlet.own is not None and viewed.outlet.own.counts.resent > resent)
