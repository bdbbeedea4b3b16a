"""One track, many views."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import av
import pytest
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from edge_node.media.views import AUDIO_TIME_BASE, VIDEO_TIME_BASE, FanoutTrack
from edge_node.ports import ViewableTrack
from tests.support.video_sink import CountingDemand, take
from tests.support.waiting import eventually

STEP = 3000
PICTURE_S = 1 / 30


def picture(number: int) -> av.Packet[Any]:
    packet: av.Packet[Any] = av.Packet(number.to_bytes(4, "big"))
    packet.pts = packet.dts = number * STEP
    packet.time_base = VIDEO_TIME_BASE
    return packet


def number_of(packet: av.Packet[Any]) -> int:
    return int.from_bytes(bytes(packet), "big")


def play(track: FanoutTrack, *numbers: int, keyframes: tuple[int, ...] = ()) -> None:
    for number in numbers:
        track.deliver(picture(number), number in keyframes, PICTURE_S)


async def test_it_is_a_viewable_track_with_views_of_its_id() -> None:
    track = FanoutTrack("video", "video/H264")
    assert isinstance(track, ViewableTrack)
    view = track.subscribe()
    assert isinstance(view, MediaStreamTrack)
    assert (view.kind, view.id, view.mime_type) == ("video", track.id, "video/H264")
    track.close()
    assert track.viewers == 0


async def test_views_share_one_packet() -> None:
    track = FanoutTrack("video", "video/H264")
    first, second = track.subscribe(), track.subscribe()
    play(track, 0, 1, keyframes=(0,))
    for ours, theirs in zip(await take(first, 2), await take(second, 2), strict=True):
        assert ours is theirs
    track.close()


async def test_a_joining_view_asks_for_a_keyframe_at_once_and_waits_for_it() -> None:
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    view = track.subscribe()
    assert demand.keyframes == 1
    play(track, 0, 1, 2, 3, keyframes=(2,))
    assert [number_of(packet) for packet in await take(view, 2)] == [2, 3]
    assert view.dropped == 0
    track.close()


async def test_a_joining_view_gets_the_remembered_group_at_once() -> None:
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    track.keep_group(True)
    play(track, *range(60), keyframes=(0, 30))
    view = track.subscribe()
    assert demand.keyframes == 0
    play(track, 60)
    packets = await take(view, 31)
    assert [number_of(packet) for packet in packets] == list(range(30, 61))
    times = [packet.pts or 0 for packet in packets]
    assert times == sorted(set(times))
    assert times[-2:] == [59 * STEP, 60 * STEP]
    assert times[-2] - times[0] < VIDEO_TIME_BASE.denominator / 10
    track.keep_group(False)
    assert not track.subscribe()._queue
    track.close()


async def test_timestamps_of_a_view_always_grow() -> None:
    track = FanoutTrack("video", "video/H264")
    view = track.subscribe()
    for number in (10, 11, 3, 4):
        track.deliver(picture(number), number == 10, PICTURE_S)
    packets = await take(view, 4)
    times = [packet.pts or 0 for packet in packets]
    assert times == sorted(set(times))
    assert all(packet.time_base == VIDEO_TIME_BASE for packet in packets)
    track.close()


async def test_a_slow_view_falls_back_to_the_next_keyframe_and_asks_once() -> None:
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    slow, quick = track.subscribe(), track.subscribe()
    asked = demand.keyframes
    play(track, *range(15), keyframes=(0,))
    await take(quick, 15)
    play(track, *range(15, 40))
    assert demand.keyframes == asked, "a view that stands still costs the others nothing"
    eaten = await take(slow, 15)
    assert [number_of(packet) for packet in eaten] == list(range(15))
    waiting = asyncio.create_task(slow.recv())
    await eventually(lambda: demand.keyframes == asked + 1)
    play(track, 40, 41, 42, keyframes=(41,))
    assert number_of(await waiting) == 41
    assert number_of(*await take(slow, 1)) == 42
    assert slow.dropped == 26
    assert demand.keyframes == asked + 1
    track.close()
    assert track.dropped == 26 + quick.dropped


async def test_sound_has_no_keyframes_and_drops_the_oldest() -> None:
    demand = CountingDemand()
    track = FanoutTrack("audio", "audio/opus", demand=demand, max_queue_s=0.1)
    view = track.subscribe()
    for number in range(8):
        packet: av.Packet[Any] = av.Packet(bytes([number]))
        packet.pts, packet.time_base = number * 960, AUDIO_TIME_BASE
        track.deliver(packet, True, 0.02)
    assert [bytes(packet)[0] for packet in await take(view, 5)] == [3, 4, 5, 6, 7]
    assert (track.dropped, demand.keyframes) == (3, 0)
    track.close()


async def test_the_lowest_path_counts_and_leaves_with_its_viewer() -> None:
    demand = CountingDemand()
    viewers: list[int] = []
    track = FanoutTrack("video", "video/H264", demand=demand, on_viewers_changed=viewers.append)
    first, second, third = (track.subscribe() for _ in range(3))
    first.set_bitrate(2000)
    second.set_bitrate(1500)
    second.stop()
    second.stop()
    assert demand.rates == [2000, 1500, 2000]
    first.stop()
    third.stop()
    assert demand.rates == [2000, 1500, 2000]
    assert viewers == [1, 2, 3, 2, 1, 0]


async def test_a_track_without_demand_can_be_asked_all_the_same() -> None:
    track = FanoutTrack("video", "video/H264")
    view = track.subscribe()
    view.request_keyframe()
    view.set_bitrate(100)
    track.close()


async def test_stop_ends_a_waiting_recv() -> None:
    track = FanoutTrack("video", "video/H264")
    view = track.subscribe()
    waiting = asyncio.create_task(view.recv())
    await asyncio.sleep(0)
    view.stop()
    with pytest.raises(MediaStreamError):
        await waiting
    with pytest.raises(MediaStreamError):
        await view.recv()


async def test_a_paused_track_gives_nothing_and_goes_on_with_a_keyframe() -> None:
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    view = track.subscribe()
    play(track, 0, 1, keyframes=(0,))
    track.pause()
    late = track.subscribe()
    asked = demand.keyframes
    play(track, 2, 3, keyframes=(2,))
    assert not view._queue and not late._queue
    track.resume()
    assert demand.keyframes == asked + 2
    play(track, 4, 5, 6, keyframes=(5,))
    assert [number_of(packet) for packet in await take(view, 2)] == [5, 6]
    assert [number_of(packet) for packet in await take(late, 2)] == [5, 6]
    track.close()


async def test_packets_from_another_thread_arrive_in_order() -> None:
    track = FanoutTrack("video", "video/H264")
    view = track.subscribe()
    keyframes: list[bool] = []
    track.on_keyframe = lambda: keyframes.append(True)

    def other_thread() -> None:
        for number in range(10):
            track.deliver_threadsafe(picture(number), number == 0, PICTURE_S)

    thread = threading.Thread(target=other_thread)
    thread.start()
    packets = await take(view, 10)
    thread.join()
    assert [number_of(packet) for packet in packets] == list(range(10))
    assert keyframes == [True]
    track.deliver_threadsafe(picture(10), False, PICTURE_S)
    assert number_of(*await take(view, 1)) == 10
    track.close()


async def test_pictures_lost_while_the_loop_stood_still_are_made_up_by_a_keyframe() -> None:
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    view = track.subscribe()

    def other_thread() -> None:
        for number in range(40):
            track.deliver_threadsafe(picture(number), number == 0, PICTURE_S)

    asked = demand.keyframes
    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()  # the loop runs nothing meanwhile
    await eventually(lambda: demand.keyframes == asked + 1)
    assert len(await take(view, 15)) == 15
    track.deliver(picture(40), False, PICTURE_S)
    track.deliver(picture(41), True, PICTURE_S)
    assert number_of(*await take(view, 1)) == 41
    track.close()


async def test_a_loop_that_stands_still_costs_bounded_memory() -> None:
    track = FanoutTrack("video", "video/H264")
    view = track.subscribe()

    def other_thread() -> None:
        for number in range(599):
            track.deliver_threadsafe(picture(number), number % 300 == 0, PICTURE_S)

    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()  # the loop runs nothing meanwhile
    assert len(track._inbox) <= 15
    await take(view, 1)
    assert track.dropped > 500
    track.close()


def test_packets_for_a_closed_loop_are_forgotten() -> None:
    async def make() -> FanoutTrack:
        return FanoutTrack("video", "video/H264")

    track = asyncio.run(make())
    thread = threading.Thread(target=lambda: track.deliver_threadsafe(picture(0), True, PICTURE_S))
    thread.start()
    thread.join()
    assert len(track._inbox) == 1
