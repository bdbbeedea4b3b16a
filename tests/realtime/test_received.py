from __future__ import annotations

import asyncio

import pytest
from aiortc.mediastreams import MediaStreamError
from aiortc.rtp import RtpPacket

from edge_node.realtime.early import KEEP_S, PEERS, SIGNALS_PER_PEER, EarlySignals
from edge_node.realtime.received import PassThrough, ReceivedTrack, Router


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


def packet(number: int) -> RtpPacket:
    made = RtpPacket(sequence_number=number % 65536, timestamp=number * 960)
    made._data = bytes([number % 256])  # type: ignore[attr-defined]
    return made


def test_sound_is_handed_on_at_once() -> None:
    buffer = PassThrough()
    given = []
    for number in (65534, 65535, 65536, 65538, 65537, 65539):
        ask, frame = buffer.add(packet(number))
        assert ask is False
        given.append(None if frame is None else frame.data[0])
    assert given == [254, 255, 0, 2, None, 3] and buffer.late == 1
    assert buffer.add(packet(30_000))[1] is not None  # a sender that started anew


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
