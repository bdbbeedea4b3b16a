"""Tracks of the other side, with a bound on what waits in them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

from aiortc.jitterbuffer import JitterFrame
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtp import RtpPacket
from aiortc.utils import uint16_gt

# 5 s of 20 ms audio frames for a program that thinks; pictures are large and only the newest matter.
QUEUE_FRAMES = {"audio": 250, "video": 8}
REORDER_SPAN = 100


class ReceivedTrack(MediaStreamTrack):
    """What the other side sends on one m-section, until it stops sending there.

    Overflow rule: the oldest frame is dropped and counted in `dropped`.
    """

    def __init__(self, kind: str, track_id: str | None) -> None:
        super().__init__()
        self.kind = kind
        if track_id is not None:
            self._id = track_id
        self._frames: deque[Any] = deque(maxlen=QUEUE_FRAMES.get(kind, 8))
        self._wake = asyncio.Event()
        self.dropped = 0

    def deliver(self, frame: Any) -> None:
        if self.readyState != "live":
            return
        if len(self._frames) == self._frames.maxlen:
            self.dropped += 1
        self._frames.append(frame)
        self._wake.set()

    async def recv(self) -> Any:
        """The next decoded frame. Raises MediaStreamError after the last one of an ended track."""
        while not self._frames:
            if self.readyState != "live":
                raise MediaStreamError
            self._wake.clear()
            await self._wake.wait()
        return self._frames.popleft()

    def stop(self) -> None:
        super().stop()
        self._wake.set()


class Router:
    """Stands in for a receiver's unbounded queue and hands each frame to the track announced last."""

    def __init__(self) -> None:
        self.track: ReceivedTrack | None = None

    async def put(self, frame: Any) -> None:
        """Called for the decoder thread; None is the end."""
        if self.track is None:
            return
        if frame is None:
            self.track.stop()
        else:
            self.track.deliver(frame)


class PassThrough:
    """An audio jitter buffer that holds nothing back: the playout, which knows the timestamps, does the waiting.

    aiortc's own keeps four packets (80 ms), and after one loss up to sixteen for the rest of the call.
    """

    def __init__(self) -> None:
        self._newest: int | None = None
        self.late = 0

    def add(self, packet: RtpPacket) -> tuple[bool, JitterFrame | None]:
        """aiortc's interface: (ask for a keyframe, a complete frame or None)."""
        number = packet.sequence_number
        newest = self._newest
        if newest is not None and not uint16_gt(number, newest) and (newest - number) % 65536 < REORDER_SPAN:
            self.late += 1
            return False, None
        self._newest = number
        data: bytes = packet._data  # type: ignore[attr-defined]
        return False, JitterFrame(data=data, timestamp=packet.timestamp)
