"""Members of a channel for the tests, with sound and pictures that can be recognised."""

from __future__ import annotations

import asyncio
import time
import uuid
from fractions import Fraction
from typing import Any

import av
import jwt
import numpy as np
import numpy.typing as npt
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from av.video.frame import PictureType

from edge_node.realtime.events import PeerJoined, StreamAdded, StreamRemoved, Track
from edge_node.realtime.peer import MeteredPeer
from edge_node.realtime.remote import RemotePeer
from tests.support.hub_client import SECRET, SECRET_ID
from tests.support.link import HasUrl
from tests.support.waiting import eventually

RATE = 48_000
SAMPLES = 960
ORDERS = [("zz", "aa"), ("aa", "zz")]
"""Ids of a sender and a receiver: the smaller one is polite."""


def token(peer_id: str) -> str:
    """A token of the test hub's secret pair that makes its bearer `peer_id`."""
    claims = {
        "sub": peer_id,
        "exp": int(time.time()) + 3600,
        "channels": ["**"],
        "permissions": ["publish", "subscribe", "presence", "send"],
    }
    return jwt.encode(claims, SECRET, algorithm="HS256", headers={"kid": SECRET_ID})


def peer_of(hub: HasUrl, peer_id: str, **options: Any) -> MeteredPeer:
    """A peer that will have this id."""
    return MeteredPeer(token_provider=lambda: token(peer_id), url=hub.url, **options)


async def close(*peers: MeteredPeer) -> None:
    """Closes them one after the other."""
    for peer in peers:
        await peer.close()


class Watcher:
    """Keeps what a peer hears of its remotes, from the moment they join."""

    def __init__(self, peer: MeteredPeer) -> None:
        self.remotes: dict[str, RemotePeer] = {}
        self.joined: list[str] = []
        self.tracks: list[Track] = []
        self.added: list[str] = []
        self.removed: list[str] = []
        peer.on(PeerJoined, lambda e: self.watch(e.peer))

    def watch(self, remote: RemotePeer) -> None:
        """Keeps what this one does from now on."""
        self.joined.append(remote.id)
        self.remotes[remote.id] = remote
        remote.on(Track, self.tracks.append)
        remote.on(StreamAdded, lambda e: self.added.append(e.stream.id))
        remote.on(StreamRemoved, lambda e: self.removed.append(e.stream.id))

    async def track(self, kind: str, number: int = 0, timeout_s: float = 30.0) -> Any:
        """The number-th track of a kind, once it came."""
        await eventually(lambda: len(self._of(kind)) > number, timeout_s)
        return self._of(kind)[number].track

    def _of(self, kind: str) -> list[Track]:
        return [t for t in self.tracks if t.track.kind == kind]


class Tone(MediaStreamTrack):
    """A sine in real time: stereo 16-bit frames of 20 ms."""

    kind = "audio"

    def __init__(self, hz: float = 440.0) -> None:
        super().__init__()
        self._hz = hz
        self._count = 0
        self._began: float | None = None

    @property
    def frames_read(self) -> int:
        return self._count

    async def recv(self) -> av.AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = loop.time() - self._count * SAMPLES / RATE
        await asyncio.sleep(max(0.0, self._began + self._count * SAMPLES / RATE - loop.time()))
        if self.readyState != "live":
            raise MediaStreamError
        n = np.arange(self._count * SAMPLES, (self._count + 1) * SAMPLES)
        mono = (8000 * np.sin(2 * np.pi * self._hz * n / RATE)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(np.repeat(mono, 2)[None, :], format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self._count * SAMPLES, Fraction(1, RATE)
        self._count += 1
        return frame


async def hear_hz(track: Any, frames: int = 25, skip: int = 5, timeout_s: float = 30.0) -> float:
    """The strongest frequency of the next frames of a received audio track."""
    pieces = []
    async with asyncio.timeout(timeout_s):
        for number in range(skip + frames):
            frame = await track.recv()
            if number >= skip:
                pieces.append(frame.to_ndarray().reshape(-1, 2)[:, 0])
    pcm = np.concatenate(pieces).astype(np.float64)
    return strongest(pcm)


def strongest(pcm: npt.NDArray[np.float64]) -> float:
    """The strongest frequency of mono samples at RATE; 0 for silence."""
    if float(np.abs(pcm).max(initial=0.0)) < 100:
        return 0.0
    spectrum = np.abs(np.fft.rfft(pcm * np.hanning(pcm.size)))
    return float(np.argmax(spectrum)) * RATE / pcm.size


async def hears(track: Any, hz: float, timeout_s: float = 30.0) -> None:
    """Waits until the track carries this tone."""
    heard = -1.0
    async with asyncio.timeout(timeout_s):
        while abs(heard - hz) > 8:
            heard = await hear_hz(track, frames=15, skip=2)


class Gaps:
    """Reads a track for ever and knows the longest pause between two frames, in seconds."""

    def __init__(self, track: Any) -> None:
        self.longest = 0.0
        self.frames = 0
        self._track = track
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        last = None
        while True:
            await self._track.recv()
            now = time.monotonic()
            if last is not None:
                self.longest = max(self.longest, now - last)
            last = now
            self.frames += 1

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


class CodedView(MediaStreamTrack):
    """One view of CodedVideo."""

    kind = "video"

    def __init__(self, source: CodedVideo) -> None:
        super().__init__()
        self._source = source
        self._queue: asyncio.Queue[av.Packet[Any]] = asyncio.Queue(64)

    def push(self, packet: av.Packet[Any]) -> None:
        if not self._queue.full():
            self._queue.put_nowait(packet)

    async def recv(self) -> av.Packet[Any]:
        if self.readyState != "live":
            raise MediaStreamError
        return await self._queue.get()

    def request_keyframe(self) -> None:
        self._source.keyframes_asked += 1
        self._source.wants_keyframe = True

    def set_bitrate(self, kbps: int) -> None:
        self._source.kbps_asked.append(kbps)

    def stop(self) -> None:
        super().stop()
        self._source.views.discard(self)


class CodedVideo:
    """A ports.ViewableTrack that encodes grey pictures with libx264: keyframes at the start and when asked only."""

    kind = "video"
    mime_types = ("video/H264",)

    def __init__(self, width_px: int = 320, height_px: int = 240, fps: int = 30) -> None:
        self.id = str(uuid.uuid4())
        self.views: set[CodedView] = set()
        self.subscribed = 0
        self.keyframes_asked = 0
        self.kbps_asked: list[int] = []
        self.wants_keyframe = True
        self._size = (width_px, height_px)
        self._fps = fps
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, mime_type: str) -> CodedView:
        view = CodedView(self)
        self.subscribed += 1
        self.views.add(view)
        self.wants_keyframe = True
        return view

    async def __aenter__(self) -> CodedVideo:
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        encoder: Any = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height = self._size
        encoder.pix_fmt, encoder.bit_rate = "yuv420p", 400_000
        encoder.framerate, encoder.time_base = Fraction(self._fps), Fraction(1, 90_000)
        encoder.gop_size = 100_000
        encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "profile": "baseline", "forced-idr": "1"}
        count = 0
        began = asyncio.get_running_loop().time()
        while True:
            await asyncio.sleep(max(0.0, began + count / self._fps - asyncio.get_running_loop().time()))
            frame = av.VideoFrame(*self._size, "yuv420p")
            for plane in frame.planes:
                plane.update(bytes([60 + count % 120]) * plane.buffer_size)
            frame.pts, frame.time_base = count * 90_000 // self._fps, Fraction(1, 90_000)
            frame.pict_type = PictureType.I if self.wants_keyframe else PictureType.NONE
            self.wants_keyframe = False
            count += 1
            for packet in encoder.encode(frame):
                for view in list(self.views):
                    view.push(packet)
