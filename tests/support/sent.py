"""A plain aiortc viewer of what one of our senders sends, over a path that can be made bad."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiortc import RTCBundlePolicy, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.codecs import is_rtx

from edge_node.media.views import FanoutTrack
from edge_node.realtime.aiortc_adapter import PeerLink
from edge_node.realtime.aiortc_outlet import Outlet
from edge_node.realtime.encoding import EncodePolicy
from edge_node.realtime.local_tracks import LocalTracks
from tests.support.h264_clip import Clip, clip_of, make_clip, read_counter
from tests.support.waiting import eventually

FPS = 30


def small_clip(kbps: int = 1000) -> Clip:
    """Two seconds of 320x240 with a keyframe each second and a counter in each picture."""
    return clip_of(make_clip(320, 240, FPS, seconds=2, gop_s=1, kbps=kbps), FPS)


class Player:
    """Plays a clip into a track for ever, in real time or, with play(), as fast as the caller wants."""

    def __init__(self, track: FanoutTrack, clip: Clip) -> None:
        self.track = track
        self._clip = clip
        self.count = 0
        self._task: asyncio.Task[None] | None = None

    def play(self, pictures: int = 1) -> None:
        for _ in range(pictures):
            index = self.count % len(self._clip.units)
            data = b"".join(b"\0\0\0\1" + nal for nal in self._clip.units[index])
            pts, keyframe = self.count * 90_000 // FPS, self._clip.is_keyframe(index)
            self.count += 1
            self.track.deliver(data, pts, 1 / FPS, keyframe=keyframe)

    async def __aenter__(self) -> Player:
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _run(self) -> None:
        began = asyncio.get_running_loop().time()
        while True:
            self.play()
            await asyncio.sleep(max(0.0, began + self.count / FPS - asyncio.get_running_loop().time()))


@dataclass
class Viewing:
    """One connection: our sending end, the viewer's connection and track, the RTP packets it got.

    `lose(payload_type, number)` says which datagrams it never gets.
    """

    link: PeerLink
    outlet: Outlet
    pc: RTCPeerConnection
    track: Any
    packets: list[Any] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    lose: Callable[[int, int], bool] = lambda *_: False

    async def counters(self, pictures: int, timeout_s: float = 30.0) -> list[int]:
        """The counters of the next decoded pictures."""
        found = []
        async with asyncio.timeout(timeout_s):
            for _ in range(pictures):
                frame = await self.track.recv()
                found.append(read_counter(frame.to_ndarray(format="gray")))
        return found

    def watch(self) -> None:
        """Keeps what arrives, and loses the datagrams for which `lose` is true."""
        dtls: Any = self.pc.getTransceivers()[0].receiver.transport
        route, receive = dtls._rtp_router.route_rtp, dtls.transport._recv

        def hear(packet: Any) -> Any:
            self.packets.append(packet)
            return route(packet)

        async def receive_some() -> bytes:
            while True:
                data: bytes = await receive()
                is_rtp = 127 < data[0] < 192 and not 192 <= data[1] <= 223
                number = int.from_bytes(data[2:4], "big")
                if not is_rtp or not self.lose(data[1] & 0x7F, number):
                    return data
                self.lost.append(number)

        dtls._rtp_router.route_rtp = hear
        dtls.transport._recv = receive_some


@asynccontextmanager
async def viewing(track: Any, *, rtx: bool = True, **options: Any) -> AsyncIterator[Viewing]:
    """A viewer of this ViewableTrack; `rtx`: the viewer takes repairs in a stream of their own."""
    servers = options.pop("ice_servers", ())
    relay_only = options.pop("relay_only", False)
    link = PeerLink(servers, relay_only, lambda *_: None, lambda _: None, lambda *_: None)
    entry = LocalTracks(lambda _: None, EncodePolicy()).add(track, None, None, "new")
    assert entry is not None
    outlet = link.add(entry.outgoing, None, receive=False)
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    await pc.setRemoteDescription(RTCSessionDescription(sdp=await link.offer(), type="offer"))
    transceiver: Any = pc.getTransceivers()[0]
    if not rtx:
        transceiver._codecs = [codec for codec in transceiver._codecs if not is_rtx(codec)]
    await pc.setLocalDescription(await pc.createAnswer())
    await link.apply_answer(pc.localDescription.sdp)
    viewed = Viewing(link, outlet, pc, transceiver.receiver.track)
    viewed.watch()
    try:
        await eventually(lambda: link.pc.connectionState == pc.connectionState == "connected")
        outlet.negotiated()
        yield viewed
    finally:
        await link.close()
        await pc.close()
