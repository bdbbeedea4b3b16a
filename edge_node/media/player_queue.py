"""Frames on their way from a reader's thread to a track."""

from __future__ import annotations

import asyncio
import threading
from collections import deque

import av

Frame = av.AudioFrame | av.VideoFrame
# 0.3 s of sound; pictures: the newest two, a file's four.
LIVE_FRAMES = {"audio": 15, "video": 2}
FILE_FRAMES = {"audio": 25, "video": 4}
LOOK_UP_S = 0.1


class FrameQueue:
    """One thread puts, the event loop takes.

    Overflow rule: put() drops the oldest frame and counts it in `dropped`; put_when_room() waits instead.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._frames: deque[Frame] = deque()
        self._changed = threading.Condition()
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self.wanted = False
        """Whether somebody reads the track."""
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._frames)

    def put(self, frame: Frame) -> None:
        """From the thread."""
        with self._changed:
            if len(self._frames) >= self._size:
                self._frames.popleft()
                self.dropped += 1
            self._frames.append(frame)
        self._tell()

    def put_when_room(self, frame: Frame, stop: threading.Event) -> bool:
        """From the thread: waits for room; False when it was stopped meanwhile."""
        with self._changed:
            while len(self._frames) >= self._size:
                if stop.is_set():
                    return False
                self._changed.wait(LOOK_UP_S)
            self._frames.append(frame)
        self._tell()
        return not stop.is_set()

    def end(self) -> None:
        """From any thread: what waits is the last."""
        self._ended = True
        self._tell()

    async def get(self) -> Frame | None:
        """The oldest frame; None at the end."""
        self._loop = asyncio.get_running_loop()
        while True:
            with self._changed:
                if self._frames:
                    self._changed.notify()
                    return self._frames.popleft()
            if self._ended:
                return None
            self._wake.clear()
            await self._wake.wait()

    def clear(self) -> None:
        """Forgets what waits: it is old."""
        with self._changed:
            self._frames.clear()
            self._changed.notify()

    def _tell(self) -> None:
        loop = self._loop
        if loop is None:  # nobody has asked yet
            return
        try:
            loop.call_soon_threadsafe(self._wake.set)
        except RuntimeError:  # the loop is closed: nobody is left to be told
            return
