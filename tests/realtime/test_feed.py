from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from aiortc.codecs import CODECS
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack

from edge_node.realtime.encoding import SILENCE_DBOV, Coded, FrameEncoder, level_dbov
from edge_node.realtime.feed import Feed, Outgoing, SenderClock
from edge_node.realtime.local_tracks import Packed, Silence, relay_of
from edge_node.realtime.relay import QUEUE_CODED, Relay
from tests.support.peers import CodedVideo, Tone
from tests.support.waiting import eventually

OPUS = CODECS["audio"][0]
PCMU = next(c for c in CODECS["audio"] if c.name == "PCMU")
VP8 = next(c for c in CODECS["video"] if c.name == "VP8")
H264 = next(c for c in CODECS["video"] if c.name == "H264")


class Script:
    """An upstream that gives what it is handed."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[Any] = asyncio.Queue()
        self.stopped = False
        self.asked = 0
        self.kbps: list[int] = []

    async def recv(self) -> Any:
        item = await self.items.get()
        if item is None:
            raise MediaStreamError
        return item

    def stop(self) -> None:
        self.stopped = True

    def request_keyframe(self) -> None:
        self.asked += 1

    def set_bitrate(self, kbps: int) -> None:
        self.kbps.append(kbps)


def opened_feed(kind: str) -> Feed:
    feed = Feed(kind)
    feed.codec = OPUS
    return feed


def plugged(feed: Feed, script: Script, opened: list[Script] | None = None) -> None:
    def open_it(codec: Any) -> Script:
        if opened is not None:
            opened.append(script)
        return script

    feed.plug(Outgoing("id", feed.kind, open_it))


@asynccontextmanager
async def reading(feed: Feed) -> AsyncIterator[list[Any]]:
    read: list[Any] = []

    async def run() -> None:
        while True:
            read.append(await feed.recv())

    task = asyncio.get_running_loop().create_task(run())
    yield read
    task.cancel()
    await asyncio.wait([task])


async def test_a_source_is_opened_when_media_can_flow_and_not_before() -> None:
    feed, script, opened = opened_feed("audio"), Script(), list[Script]()
    plugged(feed, script, opened)
    script.items.put_nowait(1)
    async with reading(feed) as read:
        await asyncio.sleep(0)
        assert opened == []
        feed.gate(True)
        feed.gate(True)
        await eventually(lambda: read == [1])
        feed.gate(False)
        assert script.stopped
        script.items.put_nowait(2)
        feed.gate(True)
        await eventually(lambda: read == [1, 2])
        assert len(opened) == 2
    feed.stop()
    with pytest.raises(MediaStreamError):
        await feed.recv()


async def test_sources_are_switched_while_one_is_silent() -> None:
    feed, silent, other = opened_feed("audio"), Script(), Script()
    feed.gate(True)
    plugged(feed, silent)
    async with reading(feed) as read:
        await asyncio.sleep(0)
        plugged(feed, other)
        assert silent.stopped
        other.items.put_nowait("x")
        await eventually(lambda: read == ["x"])
        other.items.put_nowait(None)  # an end is no end of the feed
        await eventually(lambda: other.stopped)
        third = Script()
        third.items.put_nowait("y")
        plugged(feed, third)
        await eventually(lambda: read == ["x", "y"])
        feed.plug(None)
        assert third.stopped and feed.readyState == "live"
        feed.stop()


async def test_demands_go_to_the_source() -> None:
    feed, script, next_one = opened_feed("video"), Script(), Script()
    clock = SenderClock(feed)
    feed.gate(True)
    plugged(feed, script)
    async with reading(feed):
        await asyncio.sleep(0)
        clock.ask_keyframe()
        clock.target_bitrate = 1_234_567
        assert (script.asked, script.kbps, clock.target_bitrate) == (1, [1234], 1_234_567)
        clock.ask_keyframe()  # a storm is no louder than a call
        assert script.asked == 1 and clock.asks.refused == 1
        plugged(feed, next_one)
        await eventually(lambda: next_one.kbps == [1234])  # the path is as wide as before
        feed.stop()


async def frames(count: int) -> list[Any]:
    tone = Tone()
    return [await tone.recv() for _ in range(count)]


async def test_one_clock_across_sources() -> None:
    clock = SenderClock(Feed("audio"))
    times = []
    for _ in range(3):
        encoder = FrameEncoder(OPUS)
        for frame in await frames(3):
            for coded in await encoder.coded(frame):
                times.append(clock.timestamp(coded, OPUS))
                assert coded.level_dbov is not None and -20 < coded.level_dbov < -5
    steps = np.diff(times)
    assert times[0] == 0 and (steps > 0).all() and len(times) >= 6


async def test_a_long_frame_gives_packets_with_times_of_their_own() -> None:
    encoder = FrameEncoder(OPUS)
    coded = []
    for number in range(4):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 2880), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, number * 2880, Fraction(1, 48_000)
        coded += await encoder.coded(frame)
    assert {len(c.payloads) for c in coded} == {1} and len(coded) >= 10
    assert set(np.diff([c.timestamp for c in coded])) == {960}


async def test_a_change_of_format_is_no_end() -> None:
    encoder = FrameEncoder(OPUS)
    (stereo,) = await frames(1)
    mono = av.AudioFrame.from_ndarray(np.zeros((1, 320), np.int16), format="s16", layout="mono")
    floats = av.AudioFrame.from_ndarray(np.zeros((2, 960), np.float32), format="fltp", layout="stereo")
    for number, frame in enumerate((mono, floats)):
        frame.sample_rate, frame.pts, frame.time_base = (16_000, 48_000)[number], 0, Fraction(1, 48_000)
    for frame in (stereo, mono, floats, stereo):
        await encoder.coded(frame)
    assert encoder.failures == 0
    old_style = FrameEncoder(PCMU)
    assert [c for frame in await frames(3) for c in await old_style.coded(frame)] and old_style.failures == 0


async def test_what_cannot_be_coded_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    encoder = FrameEncoder(H264)
    for _ in range(3):
        assert await encoder.coded(object()) == []
    assert encoder.failures == 3 and len(caplog.records) == 1


async def test_coded_packets_are_packed() -> None:
    packet = av.Packet(b"\0\0\0\1\x67abc\0\0\0\1\x65" + b"x" * 3000)
    packet.pts, packet.time_base = 900_000, Fraction(1, 90_000)
    (coded,) = await FrameEncoder(H264).coded(packet)
    assert SenderClock(Feed("video")).timestamp(coded, H264) == 0 and coded.level_dbov is None
    assert all(len(p) <= 1300 for p in coded.payloads) and len(coded.payloads) >= 3


async def test_what_is_encoded_elsewhere_is_viewed_and_packed() -> None:
    async with CodedVideo() as video:
        view = Packed(video, H264)
        first = await asyncio.wait_for(view.recv(), 30)
        assert first.payloads and first.timestamp >= 0
        view.request_keyframe()
        view.set_bitrate(700)
        assert (video.keyframes_asked, video.kbps_asked) == (1, [700])
        view.stop()
        assert not video.views


def test_levels() -> None:
    silent = av.AudioFrame.from_ndarray(np.zeros((1, 960), np.int16), format="s16", layout="mono")
    loud = av.AudioFrame.from_ndarray(np.full((1, 960), 32767, np.int16), format="s16", layout="mono")
    assert (level_dbov(silent), level_dbov(loud)) == (SILENCE_DBOV, 0)


class Slow(AudioStreamTrack):
    """Counts how often it was read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = 0
        self.frames: asyncio.Queue[Any] = asyncio.Queue()

    async def recv(self) -> Any:
        self.reads += 1
        item = await self.frames.get()
        if isinstance(item, Exception):
            raise item
        return item


async def test_a_relay_reads_once_for_all_and_only_while_somebody_listens() -> None:
    track = Slow()
    relay = Relay(track)
    await asyncio.sleep(0)
    assert track.reads == 0
    one, two = relay.listen(), relay.listen()
    track.frames.put_nowait("x")
    assert [await one.recv(), await two.recv()] == ["x", "x"]
    for number in range(40):
        track.frames.put_nowait(number)
    await eventually(lambda: two.dropped == 25)  # D35: bounded, the oldest goes
    assert await two.recv() == 25
    one.stop()
    two.stop()
    two.stop()
    reads = track.reads
    track.frames.put_nowait("unread")
    await asyncio.sleep(0.01)
    assert track.reads == reads
    third = relay.listen()
    assert await third.recv() == "unread"
    track.frames.put_nowait(MediaStreamError())
    with pytest.raises(MediaStreamError):
        await third.recv()
    third.stop()


async def test_a_track_that_fails_ends_its_listeners(caplog: pytest.LogCaptureFixture) -> None:
    track = Slow()
    listener = Relay(track).listen()
    track.frames.put_nowait(ValueError("broken"))
    with pytest.raises(MediaStreamError):
        await listener.recv()
    assert caplog.records


async def test_silence_waits_until_it_is_stopped() -> None:
    silence = Silence(OPUS)
    silence.stop()
    with pytest.raises(MediaStreamError):
        await silence.recv()


class Pictures(VideoStreamTrack):
    """Grey pictures as fast as the test wants them."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: asyncio.Queue[int] = asyncio.Queue()

    async def recv(self) -> Any:
        number = await self.wanted.get()
        frame = av.VideoFrame(64, 64, "yuv420p")
        frame.pts, frame.time_base = number * 3000, Fraction(1, 90_000)
        return frame


async def test_d03_a_track_is_encoded_once_for_each_codec() -> None:
    track = Pictures()
    relay = relay_of(track)
    assert relay is relay_of(track)
    one, two, other = relay.view(VP8), relay.view(VP8), relay.view(H264)
    assert relay.encoders == 2
    track.wanted.put_nowait(0)
    first = [await asyncio.wait_for(view.recv(), 30) for view in (one, two, other)]
    assert first[0] is first[1] and first[0] is not first[2] and all(coded.keyframe for coded in first)
    late = relay.view(VP8)
    assert relay.encoders == 2
    track.wanted.put_nowait(1)
    assert (await asyncio.wait_for(late.recv(), 30)).keyframe  # nobody starts in the middle
    for view in (one, two, late):
        view.stop()
    assert relay.encoders == 1
    other.stop()
    await eventually(lambda: not relay.encoders and not relay._listeners)
    again = relay.view(VP8)
    track.wanted.put_nowait(2)
    coded = await asyncio.wait_for(again.recv(), 30)
    assert coded.keyframe and coded.timeline != first[0].timeline
    again.stop()


async def test_the_narrowest_path_decides_the_bitrate() -> None:
    relay = Relay(Pictures())
    one, two, three = relay.view(VP8), relay.view(VP8), relay.view(VP8)
    encoder: Any = one._encoding._encoder
    told: list[int] = []
    encoder.set_bitrate = told.append
    for view, kbps in ((one, 900), (two, 300), (three, 600), (two, 800)):
        view.set_bitrate(kbps)
    three.stop()
    two.stop()
    assert told == [900, 300, 600, 800, 900]
    one.stop()


async def test_a_sender_that_is_held_up_starts_anew_at_a_keyframe() -> None:
    track = Pictures()
    view = Relay(track).view(VP8)
    for number in range(QUEUE_CODED["video"]):
        view.push(Coded([b"x"], number, 1, keyframe=number == 0))
    view.push(Coded([b"y"], 9, 1, keyframe=False))
    assert view.dropped == QUEUE_CODED["video"] + 1 and view._encoding._keyframe
    view.push(Coded([b"z"], 10, 1, keyframe=True))
    assert (await view.recv()).timestamp == 10
    view.stop()
    sound = Relay(Tone()).view(OPUS)
    for number in range(QUEUE_CODED["audio"] + 2):
        sound.push(Coded([b"x"], number, 1))
    assert sound.dropped == 2 and (await sound.recv()).timestamp == 2
    sound.stop()
