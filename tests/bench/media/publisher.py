"""`python -m tests.bench.media.publisher KIND --clip FILE`: one publisher with as many viewers as it is told to have.

Commands on standard input, one JSON object per line: `{"do": "offer"}` is answered with `{"id", "sdp"}`, `{"do":
"answer", "id", "sdp"}` with `{"connected": id}` once media may flow, `{"do": "counts"}` with `path_kbps`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import numpy as np
from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import vpx
from aiortc.contrib.media import MediaRelay
from aiortc.mediastreams import MediaStreamTrack

from edge_node.aio.clock import SystemClock
from edge_node.encode_plan.plan import Plan
from edge_node.media.luma_stamp import Stamp, draw_stamp
from edge_node.media.rtsp.source import RtspSource
from edge_node.media.video_publication import VideoPublication
from edge_node.ports import VIDEO_CLOCK, AccessUnit
from edge_node.protocol.payloads import IceServerConfig
from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.aiortc_outlet import Outlet
from edge_node.realtime.encoding import EncodePolicy
from edge_node.realtime.local_tracks import LocalTracks
from tests.support.h264_clip import load_clip
from tests.support.waiting import eventually

FPS = 30
KBPS = 2000
RAW_PICTURES = 60
KINDS = ("official", "official-rtsp", "encoded", "coded", "rtsp")
OnPicture = Callable[[int, float], None]


def pictures(clip: Path, most: int = RAW_PICTURES) -> list[av.VideoFrame]:
    """The clip's first pictures, as a camera would give them."""
    with av.open(str(clip)) as container:
        found: list[av.VideoFrame] = []
        for frame in container.decode(video=0):
            found.append(frame.reformat(format="yuv420p"))
            if len(found) == most:
                break
    return found


def stamp(frame: av.VideoFrame, index: int, at: float) -> None:
    """Draws number and time into a picture, in place; the writable copy is put back plane by plane."""
    plane: Any = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
    draw_stamp(luma, Stamp(index, int(at * 1000)))


async def every_picture(on_picture: OnPicture) -> None:
    """Calls it FPS times a second, straight from the loop: a camera's packets wake no task either."""
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[None] = loop.create_future()
    count, due = 0, loop.time()
    timer: asyncio.TimerHandle | None = None

    def tick() -> None:
        nonlocal count, due, timer
        try:
            on_picture(count, time.monotonic())
        except Exception as err:
            failed.set_exception(err)
            return
        count, due = count + 1, max(due + 1 / FPS, loop.time() - 1)
        timer = loop.call_at(due, tick)

    tick()
    try:
        await failed
    finally:
        if timer is not None:
            timer.cancel()


class RawTrack(MediaStreamTrack):
    """A camera as programs for the official SDK write one."""

    kind = "video"

    def __init__(self, frames: list[av.VideoFrame]) -> None:
        super().__init__()
        self._frames = frames
        self._count = 0
        self._began: float | None = None

    async def recv(self) -> av.VideoFrame:
        loop = asyncio.get_running_loop()
        if self._began is None:
            self._began = loop.time()
        await asyncio.sleep(max(0.0, self._began + self._count / FPS - loop.time()))
        frame = self._frames[self._count % len(self._frames)]
        stamp(frame, self._count, time.monotonic())
        frame.pts, frame.time_base = self._count * VIDEO_CLOCK // FPS, Fraction(1, VIDEO_CLOCK)
        self._count += 1
        return frame


class Connections(Protocol):
    """How viewers get at what is published."""

    async def offer(self) -> str: ...
    async def answer(self, index: int, sdp: str) -> None: ...
    async def drop(self, index: int) -> None: ...
    def counts(self) -> dict[str, Any]: ...
    async def close(self) -> None: ...


class OfficialConnections:
    """The official SDK's pipeline without its signalling: a MediaRelay without a buffer, an encoder for each viewer."""

    def __init__(self, track: MediaStreamTrack) -> None:
        self._track = track
        self._relay = MediaRelay()
        self._all: list[RTCPeerConnection] = []

    async def offer(self) -> str:
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
        self._all.append(pc)
        pc.addTrack(self._relay.subscribe(self._track, buffered=False))
        await pc.setLocalDescription(await pc.createOffer())
        return pc.localDescription.sdp

    async def answer(self, index: int, sdp: str) -> None:
        pc = self._all[index]
        await pc.setRemoteDescription(RTCSessionDescription(sdp=sdp, type="answer"))
        await eventually(lambda: pc.connectionState == "connected", 20)

    async def drop(self, index: int) -> None:
        await self._all[index].close()

    def counts(self) -> dict[str, Any]:
        return {}

    async def close(self) -> None:
        await asyncio.gather(*(pc.close() for pc in self._all))


class OurConnections:
    """The product's own, without the hub; with EDGE_NODE_SENDER=stock packets leave by aiortc's sender."""

    def __init__(self, track: Any, ice_servers: tuple[IceServerConfig, ...] = ()) -> None:
        entry = LocalTracks(lambda _: None, EncodePolicy()).add(track, None, None, "new")
        assert entry is not None
        self._outgoing = entry.outgoing
        self._servers = ice_servers
        self._all: list[tuple[PeerLink, Outlet]] = []

    async def offer(self) -> str:
        link = PeerLink(self._servers, bool(self._servers), lambda *_: None, lambda _: None, lambda *_: None)
        self._all.append((link, link.add(self._outgoing, None, receive=False)))
        return await link.offer()

    async def answer(self, index: int, sdp: str) -> None:
        link, outlet = self._all[index]
        await link.apply_answer(sdp)
        outlet.negotiated()
        await eventually(lambda: link.pc.connectionState == "connected", 20)

    async def drop(self, index: int) -> None:
        await self._all[index][0].close()

    def counts(self) -> dict[str, Any]:
        """What each viewer's path is said to carry, in kbit/s."""
        return {"path_kbps": [outlet.clock.target_bitrate // 1000 for _, outlet in self._all]}

    async def close(self) -> None:
        await asyncio.gather(*(link.close() for link, _ in self._all))


@asynccontextmanager
async def _working(work: Any) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def publishing(
    kind: str, clip: Path, url: str, ice_servers: tuple[IceServerConfig, ...] = ()
) -> AsyncIterator[Connections]:
    """One of KINDS, at work."""
    async with AsyncExitStack() as stack:
        if kind.startswith("official"):
            vpx.DEFAULT_BITRATE = vpx.MAX_BITRATE = KBPS * 1000
            if kind == "official":
                track: Any = RawTrack(pictures(clip))
            else:
                from metered_realtime import from_rtsp

                track = (await asyncio.to_thread(from_rtsp, url)).video
            stack.callback(track.stop)
            connections: Connections = OfficialConnections(track)
        else:
            clock = SystemClock()
            width, height = _size(clip)
            source = RtspSource(url) if kind == "rtsp" else None
            plan = Plan(width, height, FPS, KBPS, 50, "libx264", "3.1")
            publication = VideoPublication(plan, clock, source)
            stack.push_async_callback(publication.close)
            if source is not None:
                work: Any = source.run(publication)
            elif kind == "encoded":
                work = every_picture(_raw(publication, pictures(clip)))
            else:
                work = every_picture(_coded(publication, clip))
            await stack.enter_async_context(_working(work))
            connections = OurConnections(publication.track, ice_servers)
        stack.push_async_callback(connections.close)
        yield connections


def _size(clip: Path) -> tuple[int, int]:
    with av.open(str(clip)) as container:
        video = container.streams.video[0]
        return video.width, video.height


def _raw(publication: VideoPublication, frames: list[av.VideoFrame]) -> OnPicture:
    def give(count: int, now: float) -> None:
        frame = frames[count % len(frames)]
        stamp(frame, count, now)
        publication.picture(frame, now)

    return give


def _coded(publication: VideoPublication, path: Path) -> OnPicture:
    clip = load_clip(path, FPS)
    units = [b"".join(b"\0\0\0\1" + nal for nal in unit) for unit in clip.units]
    keyframes = [clip.is_keyframe(index) for index in range(len(units))]

    def give(count: int, now: float) -> None:
        index = count % len(units)
        publication.unit(AccessUnit(units[index], keyframes[index], count * VIDEO_CLOCK // FPS, now))

    return give


def say(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


async def serve(connections: Connections) -> None:
    """Obeys commands until standard input ends."""
    reader = asyncio.StreamReader(limit=1 << 20)
    loop = asyncio.get_running_loop()
    pipe, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    made = 0
    say(ready=True)
    while line := await reader.readline():
        command = json.loads(line)
        if command["do"] == "offer":
            sdp, index, made = await connections.offer(), made, made + 1
            say(id=index, sdp=sdp)
        elif command["do"] == "answer":
            await connections.answer(command["id"], command["sdp"])
            say(connected=command["id"])
        elif command["do"] == "drop":
            await connections.drop(command["id"])
            say(dropped=command["id"])
        else:
            say(**connections.counts())
    pipe.close()


async def run(kind: str, clip: Path, url: str, servers: tuple[IceServerConfig, ...]) -> None:
    async with publishing(kind, clip, url, servers) as connections:
        await serve(connections)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--clip", type=Path, required=True)
    parser.add_argument("--url", default="")
    parser.add_argument("--turn", nargs=3, metavar=("URL", "USER", "PASSWORD"))
    args = parser.parse_args()
    servers = (IceServerConfig(*args.turn),) if args.turn else ()
    asyncio.run(run(args.kind, args.clip, args.url, servers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
