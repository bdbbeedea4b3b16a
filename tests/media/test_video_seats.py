"""No more viewers than the plan has room for, and none above its rate."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from edge_node.encode_plan.plan import Plan, Refusal
from edge_node.media.seats import Seats
from edge_node.media.video_publication import VideoPublication
from edge_node.media.view import View
from edge_node.media.views import FanoutTrack
from edge_node.ports import AccessUnit
from tests.support.clock import ManualClock
from tests.support.h264_clip import make_clip
from tests.support.waiting import eventually

if TYPE_CHECKING:
    pass

PLAN = Plan(320, 240, 30, 2000, 50, "libx264", "3.0")
FULL = "this board sends to 2 viewers at a time and no more: wait until one leaves"
HOT = "this board has no time left to make VP8: use a viewer that takes H.264"


class Asks:
    count = 0

    def request_keyframe(self) -> None:
        self.count += 1

    def set_bitrate(self, kbps: int) -> None:
        pass


def deliver(track: FanoutTrack, number: int, size: int = 100, *, keyframe: bool = True) -> None:
    track.deliver(bytes(size), number * 3000, 1 / 30, keyframe=keyframe)


async def gets(view: View) -> int:
    packet = await asyncio.wait_for(view.recv(), 10)
    return packet.size


async def test_who_comes_beyond_the_number_waits_and_is_told_why(caplog: pytest.LogCaptureFixture) -> None:
    seats, asks = Seats(), Asks()
    track = FanoutTrack("video", "video/H264", seats=seats, demand=asks)
    seats.set_most(2, FULL)
    first, second, third, fourth = (track.subscribe() for _ in range(4))
    own = track.subscribe(own=True)
    assert [view.refusal for view in (first, second, third, fourth, own)] == [None, None, FULL, FULL, None]
    assert (seats.taken, seats.waiting, track.viewers) == (2, 2, 3)
    assert FULL in caplog.text
    asked = asks.count
    third.request_keyframe()
    assert asks.count == asked
    deliver(track, 0)
    waiting = asyncio.create_task(third.recv())
    assert await gets(second) == 100
    first.stop()
    assert (third.refusal, fourth.refusal) == (None, FULL)
    deliver(track, 1, 200)
    assert (await asyncio.wait_for(waiting, 10)).size == 200
    fourth.stop()
    assert (seats.taken, seats.waiting) == (2, 0)
    track.close()
    assert (seats.taken, track.viewers) == (0, 0)


async def test_a_smaller_number_sends_nobody_away_and_a_larger_one_lets_in() -> None:
    seats = Seats()
    track = FanoutTrack("video", "video/H264", seats=seats)
    views = [track.subscribe() for _ in range(3)]
    seats.set_most(1, FULL)
    assert [view.refusal for view in views] == [None] * 3
    late = track.subscribe()
    assert late.refusal == FULL
    seats.set_most(None, "")
    assert late.refusal is None and seats.taken == 4
    track.close()


async def test_a_codec_that_cannot_be_made_any_more_stops_for_all_and_comes_back() -> None:
    publication = VideoPublication(PLAN, ManualClock(), vp8_plan=PLAN)
    h264, vp8 = publication.track.subscribe("video/H264"), publication.track.subscribe("video/VP8")
    publication.set_vp8_plan(Refusal(HOT))
    publication.set_vp8_plan(Refusal(HOT))
    other = publication.track.subscribe("video/VP8")
    assert (h264.refusal, vp8.refusal, other.refusal) == (None, HOT, HOT)
    stats = publication.stats()
    assert (stats.viewers, stats.limited_by, publication.work().viewers) == (1, "viewers, VP8", 1)
    publication.set_vp8_plan(PLAN)
    assert (vp8.refusal, other.refusal, publication.stats().limited_by) == (None, None, None)
    await publication.close()


async def test_without_vp8_its_plan_means_nothing() -> None:
    publication = VideoPublication(PLAN, ManualClock())
    publication.set_vp8_plan(Refusal(HOT))
    assert publication.stats().limited_by is None
    await publication.close()


async def test_viewers_of_a_camera_get_no_more_than_the_plan_and_its_own_views_all() -> None:
    clock = ManualClock()
    publication = VideoPublication(PLAN, clock)
    publication.track.now = clock.monotonic
    publication.set_plan(Plan(320, 240, 30, 100, 1, "passthrough", "3.0"))
    early, own = publication.track.subscribe("video/H264"), publication.track.subscribe(own=True)
    data = make_clip(320, 240, 30, seconds=1, gop_s=1, kbps=300)
    received = {early: 0, own: 0}

    async def watch(view: View) -> None:
        while True:
            received[view] += (await view.recv()).size

    tasks = [asyncio.create_task(watch(view)) for view in received]
    for number in range(300):
        clock.advance(1 / 30)
        size = 2 if number % 30 else 4
        publication.unit(AccessUnit(data[: size * 500], number % 30 == 0, number * 3000, clock.monotonic()))
        await asyncio.sleep(0)
    offered = 300 * 1000 + 10 * 1000
    await eventually(lambda: received[own] == offered)
    assert received[early] / 125 / 10 <= 110
    assert publication.stats().limited_by == "bitrate"
    publication.set_plan(PLAN)
    assert publication.stats().limited_by is None
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await publication.close()
