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
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError

from edge_node.realtime.feed import SILENCE_DBOV, Feed, Outgoing, SenderEncoder, level_dbov
from edge_node.realtime.local_tracks import Silence
from edge_node.realtime.relay import Relay
from tests.support.peers import Tone
from tests.support.waiting import eventually

OPUS = CODECS["audio"][0]
PCMU = next(c for c in CODECS["audio"] if c.name == "PCMU")
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


def plugged(feed: Feed, script: Script, opened: list[Script] | None = None) -> None:
    def open_it() -> Script:
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
    feed, script, opened = Feed("audio"), Script(), list[Script]()
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
    feed, silent, other = Feed("audio"), Script(), Script()
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
    feed, script = Feed("video"), Script()
    encoder = SenderEncoder(feed)
    encoder.ask_keyframe()
    assert not feed.set_bitrate(5)
    feed.gate(True)
    plugged(feed, script)
    async with reading(feed):
        await asyncio.sleep(0)
        encoder.ask_keyframe()
        encoder.target_bitrate = 1_234_567
        assert (script.asked, script.kbps, encoder.target_bitrate) == (1, [1234], 1_234_567)
        feed.stop()


async def frames(count: int) -> list[Any]:
    tone = Tone()
    return [await tone.recv() for _ in range(count)]


async def test_one_clock_across_sources() -> None:
    feed = Feed("audio")
    encoder = SenderEncoder(feed)
    times = []
    for _ in range(3):
        feed.switched = True
        for frame in await frames(3):
            coded = await encoder.coded(frame, OPUS)
            if coded is not None:
                times.append(coded.timestamp)
                assert coded.level_dbov is not None and -20 < coded.level_dbov < -5
    steps = np.diff(times)
    assert times[0] == 0 and (steps > 0).all() and len(times) >= 6


async def test_a_change_of_codec_or_format_is_no_end() -> None:
    encoder = SenderEncoder(Feed("audio"))
    (stereo,) = await frames(1)
    mono = av.AudioFrame.from_ndarray(np.zeros((1, 320), np.int16), format="s16", layout="mono")
    floats = av.AudioFrame.from_ndarray(np.zeros((2, 960), np.float32), format="fltp", layout="stereo")
    for number, frame in enumerate((mono, floats)):
        frame.sample_rate, frame.pts, frame.time_base = (16_000, 48_000)[number], 0, Fraction(1, 48_000)
    for frame in (stereo, mono, floats, stereo):
        await encoder.coded(frame, OPUS)
    coded = [await encoder.coded(frame, PCMU) for frame in await frames(3)]
    assert any(c is not None for c in coded) and encoder.failures == 0


async def test_what_cannot_be_coded_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    encoder = SenderEncoder(Feed("video"))
    for _ in range(3):
        assert await encoder.coded(object(), H264) is None
    assert encoder.failures == 3 and len(caplog.records) == 1


async def test_coded_packets_are_packed() -> None:
    encoder = SenderEncoder(Feed("video"))
    packet = av.Packet(b"\0\0\0\1\x67abc\0\0\0\1\x65" + b"x" * 3000)
    packet.pts, packet.time_base = 900_000, Fraction(1, 90_000)
    coded = await encoder.coded(packet, H264)
    assert coded is not None and coded.timestamp == 0 and coded.level_dbov is None
    assert all(len(p) <= 1300 for p in coded.payloads) and len(coded.payloads) >= 3


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
    silence = Silence()
    silence.stop()
    with pytest.raises(MediaStreamError):
        await silence.recv()
