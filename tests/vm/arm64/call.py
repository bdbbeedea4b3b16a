"""Runs in the arm64 guest with the slot's own Python: a hub, two members, a call with sound and pictures."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction
from typing import Any

import numpy as np
from aiortc import MediaStreamTrack, VideoStreamTrack
from av import AudioFrame, VideoFrame

from edge_node import MeteredPeer, PeerJoined, Track
from edge_node.hub.config import hub_config
from edge_node.hub.server import Hub

HZ = 500.0
PICTURES = 10
DEADLINE_S = 240.0


class Tone(MediaStreamTrack):
    """A sine in frames of 20 ms."""

    kind = "audio"

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()
        self._count = 0

    async def recv(self) -> AudioFrame:
        await asyncio.sleep(max(0.0, self._began + self._count * 0.02 - time.monotonic()))
        n = np.arange(self._count * 960, (self._count + 1) * 960)
        pcm = (8000 * np.sin(2 * np.pi * HZ * n / 48_000)).astype(np.int16)
        frame = AudioFrame.from_ndarray(pcm[None, :], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, self._count * 960, Fraction(1, 48_000)
        self._count += 1
        return frame


class Bars(VideoStreamTrack):
    """Grey pictures that get brighter."""

    async def recv(self) -> VideoFrame:
        pts, base = await self.next_timestamp()
        frame = VideoFrame.from_ndarray(np.full((180, 320, 3), pts // 3000 % 200, np.uint8), format="rgb24")
        frame.pts, frame.time_base = pts, base
        return frame


async def take(track: Any, began: float) -> None:
    """Some frames of a received track; the tone has to be the one that was sent."""
    count = PICTURES if track.kind == "video" else 100
    frames = [await track.recv()]
    first = time.monotonic()
    frames += [await track.recv() for _ in range(count)]
    rate = count / (time.monotonic() - first)
    print(f"{track.kind}: first frame after {first - began:.1f} s, then {rate:.1f} a second")
    if track.kind == "audio":
        pcm = np.concatenate([frame.to_ndarray().reshape(-1)[::2] for frame in frames[50:]]).astype(float)
        heard = np.argmax(np.abs(np.fft.rfft(pcm))) * 48_000 / pcm.size
        assert abs(heard - HZ) < 20, heard


async def main() -> None:
    hub = Hub(hub_config({"port": 0, "dev_key": "pk_dev_arm64"}))
    await hub.start()
    tracks: asyncio.Queue[Track] = asyncio.Queue()
    began = time.monotonic()
    async with asyncio.timeout(DEADLINE_S):
        async with (
            MeteredPeer(api_key="pk_dev_arm64", url=hub.url) as door,
            MeteredPeer(api_key="pk_dev_arm64", url=hub.url) as home,
        ):
            home.on(PeerJoined, lambda event: event.peer.on(Track, tracks.put_nowait))
            for track in (Tone(), Bars()):
                door.add_track(track)
            await home.join("home")
            await door.join("home")
            await asyncio.gather(*[take((await tracks.get()).track, began) for _ in range(2)])
    await hub.stop(1)
    print("call ok")


asyncio.run(main())
