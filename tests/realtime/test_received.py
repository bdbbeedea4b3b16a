from __future__ import annotations

import asyncio

import pytest
from aiortc.mediastreams import MediaStreamError

from edge_node.realtime.early import KEEP_S, PEERS, SIGNALS_PER_PEER, EarlySignals
from edge_node.realtime.received import ReceivedTrack, ReceptionStats, Router


async def test_a_received_track_is_bounded_and_ends() -> None:
    track = ReceivedTrack("video", "id")
    for number in range(10):
        track.deliver(number)
    assert (track.id, track.kind, track.dropped) == ("id", "video", 2)
    assert [await track.recv() for _ in range(8)] == list(range(2, 10))
    waiting = asyncio.get_running_loop().create_task(track.recv())
    await asyncio.sleep(0)
    track.deliver("last")
    assert await waiting == "last"
    track.stop()
    track.deliver("late")
    with pytest.raises(MediaStreamError):
        await track.recv()
    assert ReceivedTrack("audio", None).id


async def test_a_router_serves_the_track_announced_last() -> None:
    router, first, second = Router(), ReceivedTrack("audio", "1"), ReceivedTrack("audio", "2")
    await router.put("nobody")
    router.track = first
    await router.put("a")
    router.track = second
    await router.put("b")
    await router.put(None)
    assert (await first.recv(), await second.recv()) == ("a", "b")
    assert second.readyState == "ended" and first.readyState == "live"
    assert first.stats() == ReceptionStats()  # aiortc's own reception does not count


async def test_a_track_tells_what_its_section_received() -> None:
    class Five:
        def stats(self) -> ReceptionStats:
            return ReceptionStats(frames=5)

    router, track = Router(Five()), ReceivedTrack("video", None)
    router.track = track
    assert router.track is track and track.stats().frames == 5


def test_early_signals_are_bounded_in_number_and_time() -> None:
    early = EarlySignals()
    for number in range(SIGNALS_PER_PEER + 5):
        early.keep("a", number, 0.0)
    assert early.dropped == 5 and early.take("a", 1.0) == list(range(SIGNALS_PER_PEER)) and early.take("a", 1.0) == []
    early.keep("a", "old", 0.0)
    early.keep("a", "new", 4.0)
    assert early.take("a", KEEP_S + 1) == ["new"]
    for number in range(PEERS + 3):
        early.keep(f"p{number}", number, 10.0)
    assert early.dropped == 8
    early.forget("p0")
    early.forget("nobody")
    assert early.take("p0", 10.0) == [] and early.take("p1", 10.0) == [1]
    early.keep("late", 1, 100.0)
    assert early.take("p2", 100.0) == []
    early.clear()
    assert early.take("late", 100.0) == []
