"""Overflow rules of coded packets, and the remembered group of pictures."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edge_node.media.packet_queue import CATCH_UP_S, GOP_CACHE_STALE_S, Coded, GopCache, PacketQueue
from edge_node.rtp.packetize import Unit


def coded(number: int, keyframe: bool = False, duration_s: float = 0.1, size: int = 10) -> Coded:
    return Coded(Unit(bytes(size), "video/H264", keyframe=keyframe), number, duration_s)


def numbers(queue: PacketQueue[Coded]) -> list[int]:
    return [queue.pop().pts for _ in range(len(queue))]


def test_sound_drops_the_oldest() -> None:
    queue = PacketQueue[Coded](video=False, max_s=0.3)
    for number in range(5):
        queue.put(coded(number))
    assert (numbers(queue), queue.dropped) == ([2, 3, 4], 2)


def test_pictures_begin_with_a_keyframe() -> None:
    queue = PacketQueue[Coded](video=True, max_s=0.5)
    queue.put(coded(0))
    assert (len(queue), queue.dropped, queue.needs_keyframe) == (0, 0, True)
    queue.put(coded(1, keyframe=True))
    queue.put(coded(2))
    assert numbers(queue) == [1, 2]


def test_a_full_picture_queue_waits_for_the_next_keyframe() -> None:
    queue = PacketQueue[Coded](video=True, max_s=0.3)
    for number in range(6):
        queue.put(coded(number, keyframe=number == 0))
    assert (len(queue), queue.dropped, queue.needs_keyframe) == (3, 3, True)
    queue.put(coded(6, keyframe=True))
    queue.put(coded(7))
    assert (numbers(queue), queue.dropped, queue.needs_keyframe) == ([6, 7], 6, False)


def test_what_was_queued_before_an_overflow_can_still_be_eaten() -> None:
    queue = PacketQueue[Coded](video=True, max_s=0.2)
    for number in range(4):
        queue.put(coded(number, keyframe=number == 0))
    assert numbers(queue) == [0, 1]
    queue.put(coded(4))
    assert len(queue) == 0


def test_a_keyframe_replaces_a_full_queue() -> None:
    queue = PacketQueue[Coded](video=True, max_s=0.2)
    for number in range(3):
        queue.put(coded(number, keyframe=True))
    assert (numbers(queue), queue.dropped) == ([2], 2)


def test_one_picture_longer_than_the_queue_gets_in() -> None:
    queue = PacketQueue[Coded](video=True, max_s=0.2)
    queue.put(coded(0, keyframe=True, duration_s=1.0))
    assert numbers(queue) == [0]


def test_a_preloaded_group_takes_no_room() -> None:
    queue = PacketQueue[Coded](video=True, max_s=0.2)
    queue.preload(tuple(coded(number, keyframe=number == 0, duration_s=0.0) for number in range(10)))
    queue.put(coded(10))
    assert (numbers(queue), queue.dropped) == (list(range(11)), 0)
    queue.preload(())
    assert queue.needs_keyframe


def test_pictures_may_wait_behind_a_group_that_leaves_slowly() -> None:
    queue = PacketQueue[Coded](video=True, max_s=0.2)
    queue.preload((coded(0, keyframe=True, duration_s=0.0), coded(1, duration_s=0.0)))
    for number in range(2, 60):
        queue.put(coded(number))
    assert len(queue) == 2 + round((0.2 + CATCH_UP_S) / 0.1) and queue.starved
    assert numbers(queue) == list(range(44))
    for number in range(60, 70):
        queue.put(coded(number, keyframe=number == 60))
    assert (numbers(queue), queue.starved) == ([60, 61], True)  # an ordinary queue again


def test_what_comes_while_nothing_waits_goes_past_the_queue() -> None:
    queue = PacketQueue[Coded](video=True, max_s=0.2)
    assert not queue.passes(coded(0))
    assert queue.passes(coded(1, keyframe=True)) and queue.passes(coded(2)) and len(queue) == 0
    queue.put(coded(3))
    assert not queue.passes(coded(4)) and queue.peek().pts == 3
    for number in range(4, 7):
        queue.put(coded(number))
    assert numbers(queue) == [3, 4] and queue.starved and not queue.passes(coded(7))
    assert queue.passes(coded(8, keyframe=True)) and not queue.starved


@given(
    keyframes=st.lists(st.booleans(), max_size=80),
    pops=st.lists(st.integers(0, 3), min_size=80, max_size=80),
)
def test_whatever_happens_the_stream_can_be_decoded(keyframes: list[bool], pops: list[int]) -> None:
    queue = PacketQueue[Coded](video=True, max_s=0.35)
    out: list[Coded] = []
    for number, (keyframe, count) in enumerate(zip(keyframes, pops, strict=False)):
        queue.put(coded(number, keyframe))
        assert len(queue) <= 4
        out += [queue.pop() for _ in range(min(count, len(queue)))]
    out += [queue.pop() for _ in range(len(queue))]
    last: int | None = None
    for item in out:
        number = item.pts
        assert item.keyframe or (last is not None and number == last + 1)
        last = number


def test_the_cache_keeps_the_pictures_since_the_last_keyframe() -> None:
    cache = GopCache()
    for number in range(5):
        cache.put(coded(number, keyframe=number in (1, 3)), number)
    assert [item.pts for item in cache.group(4 + GOP_CACHE_STALE_S)] == [3, 4]
    assert cache.group(4.1 + GOP_CACHE_STALE_S) == ()  # the camera is away: that is not what it sees


def test_the_cache_is_bounded_in_time_and_size() -> None:
    for cache in (GopCache(max_s=0.25), GopCache(max_bytes=25)):
        for number in range(3):
            cache.put(coded(number, keyframe=number == 0), 0.0)
        assert cache.group(0.0) == ()
        cache.put(coded(4), 0.0)
        assert cache.group(0.0) == ()
        cache.put(coded(5, keyframe=True), 0.0)
        assert len(cache.group(0.0)) == 1
