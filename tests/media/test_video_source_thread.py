"""Threads that end with their task, sources that stand still."""

from __future__ import annotations

import asyncio
import threading

import pytest

from edge_node.errors import SourceLost
from edge_node.media.source_thread import run_in_thread
from edge_node.media.stall_watch import StallWatch
from edge_node.ports import VideoSink
from tests.support.clock import ManualClock
from tests.support.h264 import make_units, painted
from tests.support.video_sink import CollectingSink, running
from tests.support.waiting import eventually


async def test_cancelling_ends_the_thread_before_the_task() -> None:
    ended: list[bool] = []

    def work(stop: threading.Event) -> None:
        stop.wait()
        ended.append(True)

    async with running(run_in_thread(work, "worker")):
        await eventually(lambda: "worker" in {thread.name for thread in threading.enumerate()})
        assert not ended
    assert ended


async def test_what_the_work_raises_is_raised() -> None:
    def work(stop: threading.Event) -> None:
        raise SourceLost("gone")

    with pytest.raises(SourceLost, match="gone"):
        await run_in_thread(work, "worker")


async def test_work_may_simply_end() -> None:
    await run_in_thread(lambda stop: None, "worker")


async def test_a_stuck_thread_is_left_behind_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    started = threading.Event()

    def work(stop: threading.Event) -> None:
        started.set()
        release.wait(60)

    async with running(run_in_thread(work, "worker", grace_s=0.05)):
        await eventually(started.is_set)
    assert "worker did not end" in caplog.text
    release.set()
    await eventually(lambda: "worker" not in {thread.name for thread in threading.enumerate()})


def test_a_loop_that_ended_is_no_trouble_for_the_thread() -> None:
    release = threading.Event()
    threads: list[threading.Thread] = []

    def work(stop: threading.Event) -> None:
        threads.append(threading.current_thread())
        release.wait(60)

    async def main() -> None:
        async with running(run_in_thread(work, "worker", grace_s=0.01)):
            await eventually(lambda: threads)

    asyncio.run(main())
    release.set()
    threads[0].join(10)
    assert not threads[0].is_alive()


async def test_a_source_that_stands_still_is_lost() -> None:
    clock = ManualClock()
    sink = CollectingSink()
    ended: list[bool] = []
    played = asyncio.Event()

    async def source(to: VideoSink) -> None:
        try:
            to.picture(painted(1)[0], clock.monotonic())
            to.unit(make_units(1)[0])
            played.set()
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append(True)

    watch = StallWatch(sink, clock, stall_s=0.3, first_s=60.0)
    task = asyncio.create_task(watch.run(source, "it stands still"))
    await played.wait()
    assert (len(sink.pictures), len(sink.units)) == (1, 1)
    clock.advance(0.4)
    with pytest.raises(SourceLost, match="it stands still"):
        await task
    assert ended


async def test_the_first_picture_may_take_longer() -> None:
    clock = ManualClock()

    async def source(to: VideoSink) -> None:
        await asyncio.get_running_loop().create_future()

    watch = StallWatch(CollectingSink(), clock, stall_s=0.06, first_s=10.0)
    task = asyncio.create_task(watch.run(source, "nothing ever came"))
    clock.advance(9.0)
    done, _ = await asyncio.wait([task], timeout=0.1)
    assert not done
    clock.advance(2.0)
    with pytest.raises(SourceLost, match="nothing ever came"):
        await task


async def test_a_source_that_ends_or_fails_ends_the_watch() -> None:
    async def ends(to: VideoSink) -> None:
        return

    async def fails(to: VideoSink) -> None:
        raise SourceLost("unplugged")

    await StallWatch(CollectingSink(), ManualClock()).run(ends, "")
    with pytest.raises(SourceLost, match="unplugged"):
        await StallWatch(CollectingSink(), ManualClock()).run(fails, "")
