"""Tracks of the other side, with a bound on what waits in them."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

# 5 s of 20 ms audio frames for a program that thinks; pictures are large and only the newest matter.
QUEUE_FRAMES = {"audio": 250, "video": 8}


@dataclass(frozen=True, slots=True)
class ReceptionStats:
    """What came on one m-section since the start: `frames` handed to the decoder, `skipped` frames that could not be
    decoded in time or for want of a keyframe, `holes` packets missed, `nacks` packets asked for again, `plis` keyframes
    asked for, `given_up` times that pictures went on after a hole, `dropped` packets that came twice or too late,
    `repair_ms` from asking for a packet to its coming (None before the first).
    """

    frames: int = 0
    skipped: int = 0
    holes: int = 0
    nacks: int = 0
    plis: int = 0
    given_up: int = 0
    dropped: int = 0
    repair_ms: float | None = None


class Counting(Protocol):
    """What brings frames to a router."""

    def stats(self) -> ReceptionStats: ...


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
        self.reception: Counting | None = None
        """None: aiortc's own, which does not count."""

    def stats(self) -> ReceptionStats:
        """All counters of the m-section."""
        return ReceptionStats() if self.reception is None else self.reception.stats()

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

    def __init__(self, reception: Counting | None = None) -> None:
        self.reception = reception
        self._track: ReceivedTrack | None = None

    @property
    def track(self) -> ReceivedTrack | None:
        """Who gets the frames."""
        return self._track

    @track.setter
    def track(self, track: ReceivedTrack) -> None:
        track.reception = self.reception
        self._track = track

    async def put(self, frame: Any) -> None:
        """Called for the decoder thread; None is the end."""
        if frame is not None:
            self.deliver(frame)
        elif self._track is not None:
            self._track.stop()

    def deliver(self, frame: Any) -> None:
        """On the event loop: a frame for whoever gets them now."""
        if self._track is not None:
            self._track.deliver(frame)
