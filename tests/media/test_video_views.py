"""One track, many views."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import av
import pytest
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from edge_node.media.view import VIDEO_TIME_BASE
from edge_node.media.views import FanoutTrack
from edge_node.ports import DirectView, ViewableTrack
from edge_node.rtp.packetize import Unit
from tests.support.video_sink import CountingDemand, take
from tests.support.waiting import eventually

STEP = 3000
PICTURE_S = 1 / 30


def picture(track: FanoutTrack, number: int, *, keyframe: bool = False) -> None:
    track.deliver(number.to_bytes(4, "big"), number * STEP, PICTURE_S, keyframe=keyframe)


def number_of(packet: av.Packet[Any]) -> int:
    return int.from_bytes(bytes(packet), "big")


def play(track: FanoutTrack, *numbers: int, keyframes: tuple[int, ...] = ()) -> None:
    for number in numbers:
        picture(track, number, keyframe=number in keyframes)


async def test_it_is_a_viewable_track_with_views_of_its_id() -> None:
    track = FanoutTrack("video", "video/H264")
    assert isinstance(track, ViewableTrack)
    view = track.subscribe()
    assert isinstance(view, MediaStreamTrack)
    assert (view.kind, view.id, view.mime_type) == ("video", track.id, "video/H264")
    track.close()
    assert track.viewers == 0


async def test_views_share_what_is_coded() -> None:
    track = FanoutTrack("video", "video/H264")
    first, second = track.subscribe(), track.subscribe()
    play(track, 0, 1, keyframes=(0,))
    assert len(first._queue) == 2 and first._queue.peek().unit is second._queue.peek().unit
    assert [number_of(packet) for packet in await take(first, 2)] == [0, 1]
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
        picture(track, number, keyframe=number == 10)
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
        track.deliver(bytes([number]), number * 960, 0.02)
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
            picture(track, number, keyframe=number == 0)

    thread = threading.Thread(target=other_thread)
    thread.start()
    packets = await take(view, 10)
    thread.join()
    assert [number_of(packet) for packet in packets] == list(range(10))
    assert keyframes == [True]
    picture(track, 10)
    assert number_of(*await take(view, 1)) == 10
    track.close()


async def test_pictures_lost_while_the_loop_stood_still_are_made_up_by_a_keyframe() -> None:
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    view = track.subscribe()

    def other_thread() -> None:
        for number in range(40):
            picture(track, number, keyframe=number == 0)

    asked = demand.keyframes
    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()  # the loop runs nothing meanwhile
    await eventually(lambda: demand.keyframes == asked + 1)
    assert len(await take(view, 15)) == 15
    picture(track, 40)
    picture(track, 41, keyframe=True)
    assert number_of(*await take(view, 1)) == 41
    track.close()


async def test_a_loop_that_stands_still_costs_bounded_memory() -> None:
    track = FanoutTrack("video", "video/H264")
    view = track.subscribe()

    def other_thread() -> None:
        for number in range(599):
            picture(track, number, keyframe=number % 300 == 0)

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
    thread = threading.Thread(target=lambda: picture(track, 0, keyframe=True))
    thread.start()
    thread.join()
    assert len(track._inbox) == 1


class Sink:
    """A ports.UnitSink that is behind when the test says so."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, int]] = []
        self.units: list[Unit] = []
        self.behind = False
        self.ends = 0

    def take(self, unit: Unit, timestamp: int) -> bool:
        if not self.behind:
            self.taken.append((int.from_bytes(bytes(unit.data), "big"), timestamp))
            self.units.append(unit)
        return not self.behind

    def ended(self) -> None:
        self.ends += 1

    @property
    def numbers(self) -> list[int]:
        return [number for number, _ in self.taken]


async def test_sinks_get_one_unit_at_once() -> None:
    track = FanoutTrack("video", "video/H264")
    views, sinks = [track.subscribe() for _ in range(3)], [Sink() for _ in range(3)]
    for view, sink in zip(views, sinks, strict=True):
        assert isinstance(view, DirectView)
        view.attach(sink)
    play(track, 0, 1, 2, keyframes=(1,))
    assert [sink.taken for sink in sinks] == [[(1, STEP), (2, 2 * STEP)]] * 3
    assert sinks[0].units[0] is sinks[1].units[0] and sinks[0].units[0].keyframe
    views[0].stop()
    assert [sink.ends for sink in sinks] == [1, 0, 0]
    track.close()
    assert [sink.ends for sink in sinks] == [1, 1, 1]


async def test_a_sink_gets_what_waited_and_timestamps_that_grow() -> None:
    track = FanoutTrack("video", "video/H264")
    track.keep_group(True)
    play(track, *range(5), keyframes=(0,))
    view, sink = track.subscribe(), Sink()
    view.attach(sink)
    play(track, 5, 5)
    assert sink.numbers == [0, 1, 2, 3, 4, 5, 5]
    times = [timestamp for _, timestamp in sink.taken]
    assert times == sorted(set(times))
    track.pause()
    play(track, 6)
    track.resume()
    assert sink.numbers[7:] == [0, 1, 2, 3, 4, 5, 5, 6]
    track.close()


async def test_a_sink_that_is_behind_falls_back_to_a_keyframe_and_asks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    demand = CountingDemand()
    track = FanoutTrack("video", "video/H264", demand=demand)
    slow, quick = Sink(), Sink()
    views = [track.subscribe(), track.subscribe()]
    for view, sink in zip(views, (slow, quick), strict=True):
        view.attach(sink)
    play(track, 0, keyframes=(0,))
    now = track.now()
    monkeypatch.setattr(track, "now", lambda: now)
    slow.behind = True
    asked = demand.keyframes
    play(track, *range(1, 40))
    assert quick.numbers == list(range(40)) and demand.keyframes == asked
    slow.behind = False
    monkeypatch.setattr(track, "now", lambda: now + 2)
    views[0].pump()
    assert slow.numbers == list(range(16)) and demand.keyframes == asked + 1
    play(track, 40, 41)
    assert demand.keyframes == asked + 1
    monkeypatch.setattr(track, "now", lambda: now + 4)
    play(track, 42)
    assert demand.keyframes == asked + 2  # the first asking was lost
    play(track, 43, 44, keyframes=(43,))
    assert slow.numbers[16:] == [43, 44]
    assert views[0].dropped == 27 and views[1].dropped == 0
    track.close()


async def test_a_camera_that_cannot_be_asked_is_thinned_for_a_narrow_path(monkeypatch: pytest.MonkeyPatch) -> None:
    track = FanoutTrack("video", "video/H264")
    track.keep_group(True)
    narrow, wide = Sink(), Sink()
    views = [track.subscribe(), track.subscribe()]
    for view, sink in zip(views, (narrow, wide), strict=True):
        view.attach(sink)
    for number in range(300):
        monkeypatch.setattr(track, "now", lambda number=number: number / 30)
        data = number.to_bytes(4, "big") + bytes(7000 if number % 30 else 30_000)
        track.deliver(data, number * STEP, PICTURE_S, keyframe=number % 30 == 0)
        if number == 60:
            views[0].set_bitrate(900)
    assert track.thinned and len(wide.taken) == 300
    assert 120 < len(narrow.taken) < 240 and views[0].dropped == 300 - len(narrow.taken)
    track.close()
