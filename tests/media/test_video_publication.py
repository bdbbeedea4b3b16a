"""A source's pictures as one coded track: one encode, merged demands, nothing decoded."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any

import av
import pytest
from aiortc.mediastreams import MediaStreamError

from edge_node.aio.clock import SystemClock
from edge_node.encode_plan.governor import Work
from edge_node.encode_plan.pace import KEYFRAME_WINDOW_S
from edge_node.encode_plan.plan import Plan, Source
from edge_node.media import h264
from edge_node.media.pattern import PatternSource
from edge_node.media.video_publication import VideoPublication
from edge_node.media.video_stats import STALLED_AFTER_S, VideoState
from edge_node.ports import VIDEO_CLOCK, AccessUnit, Clock, VideoSource
from tests.support.clock import ManualClock
from tests.support.h264 import decoded, make_units, painted, stamps
from tests.support.video_sink import CountingDemand, StubSource, Watching, running, take, take_until
from tests.support.waiting import eventually

PLAN = Plan(320, 240, 30, 400, 50, "libx264", "3.1")
UNITS = make_units(60, gop=30)


@asynccontextmanager
async def publication(
    source: VideoSource | None = None, clock: Clock | None = None, plan: Plan = PLAN
) -> AsyncIterator[VideoPublication]:
    published = VideoPublication(plan, clock or ManualClock(), source or StubSource())
    try:
        yield published
    finally:
        await published.close()


@contextmanager
def no_codec_opened() -> Iterator[None]:
    """Fails when a codec of FFmpeg was opened inside and is alive at the end."""

    def open_codecs() -> set[int]:
        gc.collect()
        return {id(thing) for thing in gc.get_objects() if isinstance(thing, av.CodecContext) and thing.is_open}

    before = open_codecs()
    yield
    assert not open_codecs() - before


def give(published: VideoPublication, units: list[AccessUnit], at: float = 0.0) -> None:
    for unit in units:
        published.unit(replace(unit, captured_at=at + unit.captured_at))


async def encode(published: VideoPublication, frames: list[av.VideoFrame]) -> int:
    """Feeds pictures one after the other, 1/30 s of its clock apart; how many were encoded."""
    before = published.stats().encodes
    clock = published._clock
    assert isinstance(clock, ManualClock)
    for frame in frames:
        done = published.stats().encodes
        clock.advance(1 / 30)
        published.picture(frame, clock.monotonic())
        if published.track.viewers:
            await eventually(lambda done=done: published.stats().encodes > done)  # type: ignore[misc]
    return published.stats().encodes - before


async def test_without_viewers_nothing_is_encoded() -> None:
    async with publication() as published:
        assert await encode(published, painted(3)) == 0
        assert published._encoder is None
        stats = published.stats()
        assert (stats.state, stats.width_px, stats.height_px, stats.kbps) == (VideoState.LIVE, 320, 240, 0.0)


async def test_two_views_cost_one_encode() -> None:
    async with publication() as published:
        first = Watching(published.track.subscribe())
        alone = await encode(published, painted(10))
        second = Watching(published.track.subscribe())
        together = await encode(published, painted(20))
        assert (alone, together) == (10, 20)
        await eventually(lambda: len(first.packets) == 30)
        shared = await second.end()
        assert shared
        assert all(bytes(a) == bytes(b) for a, b in zip(first.packets[-len(shared) :], shared, strict=True))
        assert published._encoder is not None and published._encoder.opened == 1
        await first.end()


async def test_every_view_decodes_from_its_first_packet_whenever_it_joins() -> None:
    async with publication() as published:
        watching: list[Watching] = []
        frames = painted(60)
        for start in range(0, 60, 20):
            watching.append(Watching(published.track.subscribe()))
            await encode(published, frames[start : start + 20])
        await eventually(lambda: len(watching[0].packets) == 60)
        for who in watching:
            packets = await who.end()
            assert packets[0].is_keyframe
            seen = [stamp.index for stamp in stamps(decoded(packets)) if stamp]
            assert seen == list(range(60 - len(packets), 60))
        assert [len(who.packets) > 10 for who in watching] == [True] * 3


async def test_requests_of_all_views_are_merged() -> None:
    demand = CountingDemand()
    async with publication(StubSource("camera", demand)) as published:
        give(published, UNITS[1:2])
        views = [published.track.subscribe() for _ in range(4)]
        assert demand.keyframes == 1
        for view in views:
            view.request_keyframe()
        assert demand.keyframes == 1
        await eventually(lambda: demand.keyframes == 2)
        assert not published._asks.waiting
        views[0].request_keyframe()
        views[1].request_keyframe()
        give(published, UNITS[30:31])  # a keyframe comes by before the window ends: everybody is served
        assert not published._asks.waiting
        views[2].request_keyframe()
        await eventually(lambda: demand.keyframes == 3, timeout_s=KEYFRAME_WINDOW_S + 10)


async def test_requests_may_come_from_any_thread() -> None:
    demand = CountingDemand()
    async with publication(StubSource("camera", demand)) as published:
        give(published, UNITS[1:2])
        thread = threading.Thread(target=published.request_keyframe)
        thread.start()
        await eventually(lambda: demand.keyframes == 1)
        thread.join()


async def test_three_views_joining_together_cost_one_keyframe() -> None:
    async with publication() as published:
        watching = [Watching(published.track.subscribe()) for _ in range(3)]
        await encode(published, painted(20))
        for who in watching:
            await eventually(lambda who=who: len(who.packets) == 20)  # type: ignore[misc]
            packets = await who.end()
            assert [index for index, packet in enumerate(packets) if packet.is_keyframe] == [0]
        assert published.stats().keyframes == 1


async def test_coded_pictures_are_handed_through_untouched_and_undecoded() -> None:
    with no_codec_opened():
        async with publication(StubSource("rtsp")) as published:
            views = [published.track.subscribe() for _ in range(2)]
            give(published, UNITS[:15], published._clock.monotonic())
            for view in views:
                assert [bytes(packet) for packet in await take(view, 15)] == [unit.data for unit in UNITS[:15]]
            stats = published.stats()
            assert (stats.encoder, stats.encodes, stats.decodes) == ("passthrough", 0, 0)
            assert (stats.width_px, stats.height_px, stats.keyframes, stats.viewers) == (320, 240, 1, 2)
            assert published._encoder is None
            del views, view


async def test_a_late_viewer_of_a_camera_that_cannot_be_asked_sees_a_picture_at_once() -> None:
    async with publication(StubSource("rtsp")) as published:
        give(published, UNITS[:45])
        view = published.track.subscribe()
        packets = await take(view, 15)
        assert [stamp.index for stamp in stamps(decoded(packets)) if stamp] == list(range(30, 45))


async def test_a_camera_that_can_be_asked_is_asked() -> None:
    demand = CountingDemand()
    async with publication(StubSource("camera", demand), plan=replace(PLAN, encoder="v4l2m2m")) as published:
        give(published, UNITS[1:5])
        view = published.track.subscribe()
        view.set_bitrate(700)
        assert (demand.keyframes, demand.rates, len(view._queue)) == (1, [700], 0)
        assert published.stats().encoder == "v4l2m2m"


async def test_outside_a_call_nothing_flows_and_a_call_begins_with_a_keyframe() -> None:
    async with publication() as published:
        view = published.track.subscribe()
        await encode(published, painted(3))
        await take(view, 3)
        published.set_active(False)
        published.set_active(False)
        published.picture(painted(1)[0], published._clock.monotonic())
        assert published.stats().state is VideoState.OFF
        view.request_keyframe()
        await asyncio.sleep(0)
        assert not view._queue
        encodes = published.stats().encodes
        published.set_active(True)
        await encode(published, painted(3))
        packets = await take(view, 3)
        assert [packet.is_keyframe for packet in packets] == [True, False, False]
        assert published.stats().encodes == encodes + 3


async def test_outside_a_call_a_camera_is_only_remembered() -> None:
    async with publication(StubSource("rtsp")) as published:
        view = published.track.subscribe()
        published.set_active(False)
        give(published, UNITS[:40])
        assert not view._queue
        published.set_active(True)
        packets = await take(view, 10)
        assert [stamp.index for stamp in stamps(decoded(packets)) if stamp] == list(range(30, 40))


async def test_states() -> None:
    clock = ManualClock()
    async with publication(clock=clock) as published:
        assert published.stats().state is VideoState.STARTING
        assert published.stats().encoder is None
        published.picture(painted(1)[0], clock.monotonic())
        assert published.stats().state is VideoState.LIVE
        clock.advance(STALLED_AFTER_S + 0.1)
        assert published.stats().state is VideoState.STALLED
        published.picture(painted(1)[0], clock.monotonic())
        assert published.stats().state is VideoState.LIVE
    assert published.stats().state is VideoState.OFF
    off = VideoPublication(PLAN, clock)
    assert off.stats().state is VideoState.OFF
    await off.close()


async def test_views_outlive_their_source() -> None:
    clock = ManualClock()
    async with publication(StubSource("rtsp"), clock) as published:
        view = published.track.subscribe()
        give(published, UNITS[:10], clock.monotonic())
        before = await take(view, 10)
        clock.advance(60)
        assert published.stats().state is VideoState.STALLED
        give(published, UNITS[:10], clock.monotonic())  # the camera restarted: its timestamps begin at 0 again
        after = await take(view, 10)
        times = [packet.pts or 0 for packet in before + after]
        assert times == sorted(set(times))
        assert times[10] - times[9] == pytest.approx(60 * VIDEO_CLOCK, rel=0.01)
        assert published.stats().state is VideoState.LIVE


async def test_a_source_may_change_from_coded_to_raw_under_its_views() -> None:
    async with publication(StubSource("auto")) as published:
        view = published.track.subscribe()
        give(published, UNITS[:5], published._clock.monotonic())
        await take(view, 5)
        await encode(published, painted(3))
        packets = await take(view, 3)
        assert packets[0].is_keyframe
        assert published.stats().encoder == "libx264"
        assert published.track._cache is None


async def test_rates_are_measured() -> None:
    clock = ManualClock()
    async with publication(StubSource("rtsp"), clock) as published:
        for unit in UNITS * 2:
            clock.advance(1 / 30)
            published.unit(replace(unit, captured_at=clock.monotonic()))
        stats = published.stats()
        assert stats.fps == pytest.approx(30, abs=1)
        assert stats.kbps == pytest.approx(sum(len(unit.data) for unit in UNITS) * 8 / 1000 / 2, rel=0.1)


async def test_the_narrowest_path_limits_the_encoder_and_is_told() -> None:
    async with publication(plan=replace(PLAN, limited_by="heat")) as published:
        view = published.track.subscribe()
        view.set_bitrate(5000)  # before there is an encoder: nothing to limit yet
        await encode(published, painted(2))
        assert published.stats().limited_by == "heat"
        view.set_bitrate(100)
        assert published.stats().limited_by == "heat, path"
        await encode(published, painted(60))
        view.set_bitrate(int(0.9 * PLAN.max_kbps))
        assert published.stats().kbps < 0.5 * PLAN.max_kbps
        assert published.stats().limited_by == "heat", "the scene needs no more"


async def test_a_viewer_whom_pictures_of_a_camera_are_left_out_for_is_told() -> None:
    clock = ManualClock()
    async with publication(StubSource("rtsp"), clock) as published:
        published.track.now = clock.monotonic
        view = published.track.subscribe()
        view.set_bitrate(50)
        for unit in UNITS * 2:
            clock.advance(1 / 30)
            published.unit(replace(unit, captured_at=clock.monotonic()))
        assert view.dropped and published.stats().limited_by == "path"
        view.stop()
        assert published.stats().limited_by is None


async def test_whoever_plans_is_told_what_comes_and_how_it_goes() -> None:
    async with publication(StubSource("file")) as published:
        assert published.work() == Work(None)
        give(published, UNITS[:1])
        assert replace(published.work(), stream_kbps=0.0) == Work(Source.CODED, stream_px=(320, 240))
        assert published.work().stream_kbps > 0
        published.track.subscribe()
        await encode(published, painted(3))
        assert published.work() == Work(Source.FOREIGN, viewers=1, offered=3)
    for label, source in (("camera", Source.CAMERA), ("test", Source.RAW)):
        async with publication(StubSource(label)) as published:
            published.picture(painted(1)[0], 0.0)
            assert published.work().source is source


async def test_the_source_takes_the_plan_as_well() -> None:
    told: list[Plan] = []

    class Camera(StubSource):
        def set_plan(self, plan: Plan) -> None:
            told.append(plan)

    async with publication(Camera("camera")) as published:
        published.set_plan(PLAN)
        assert told == [PLAN]


async def test_a_failed_encoder_of_the_board_is_told() -> None:
    async with publication(plan=replace(PLAN, encoder="h264_v4l2m2m")) as published:
        published.track.subscribe()
        await encode(published, painted(2))
        stats = published.stats()
        assert (stats.encoder, stats.limited_by) == ("libx264", "encoder failed")
        assert published.work().software_instead


async def test_another_plan_takes_effect_on_the_running_stream() -> None:
    async with publication() as published:
        view = published.track.subscribe()
        await encode(published, painted(2))
        published.set_plan(replace(PLAN, width_px=160, height_px=120))
        await encode(published, painted(2))
        packets = await take(view, 4)
        sequence = h264.parse_sps(h264.parameter_sets(bytes(packets[2]))[h264.NAL_SPS])
        assert sequence is not None and (sequence.width_px, sequence.height_px) == (160, 120)
        assert published.stats().width_px == 160


async def test_a_broken_encoder_shows() -> None:
    def no_codec(*_: Any) -> Any:
        raise ValueError("no libx264 here")

    published = VideoPublication(PLAN, ManualClock(), StubSource(), open_codec=no_codec)
    assert published.fault is None
    published.track.subscribe()
    published.picture(painted(1)[0], published._clock.monotonic())
    await eventually(lambda: published.fault is not None)
    assert published.stats().state is VideoState.STALLED
    assert published.stats().dropped_frames == 1
    await published.close()


async def test_close_ends_views_and_threads() -> None:
    published = VideoPublication(PLAN, ManualClock(), StubSource())
    view = published.track.subscribe()
    await encode(published, painted(1))
    await take(view, 1)
    view.request_keyframe()
    view.request_keyframe()
    await published.close()
    with pytest.raises(MediaStreamError):
        await view.recv()
    assert "video-encoder" not in {thread.name for thread in threading.enumerate()}
    published.picture(painted(1)[0], 0.0)  # a source that has not heard yet
    give(published, UNITS[:1])


async def test_the_test_picture_from_end_to_end() -> None:
    source = PatternSource(320, 240, 30, SystemClock())
    async with publication(source, SystemClock()) as published, running(source.run(published)):
        first = published.track.subscribe()
        packets = await take(first, 20)
        second = published.track.subscribe()
        late = await take_until(second, lambda got: len(got) >= 5)
        assert late[0].is_keyframe
        for seen in (packets, late):
            indexes = [stamp.index for stamp in stamps(decoded(seen)) if stamp]
            assert len(indexes) == len(seen)
            assert indexes == sorted(set(indexes))
        assert published.stats().source == "test"


async def test_the_level_of_what_flows_is_known() -> None:
    async with publication(StubSource("rtsp"), plan=replace(PLAN, level="4.0")) as published:
        published.picture(painted(1)[0], 0.0)
        assert published.track.level_idc == 40
        published.set_plan(replace(PLAN, level="4.1"))
        assert published.track.level_idc == 41
        give(published, UNITS[:1])
        sequence = h264.parse_sps(h264.parameter_sets(UNITS[0].data)[h264.NAL_SPS])
        assert sequence is not None and published.track.level_idc == sequence.level_idc
        published.set_plan(replace(PLAN, level="4.2"))
        assert published.track.level_idc == sequence.level_idc
