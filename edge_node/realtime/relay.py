"""One ordinary track read once for all its listeners."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

log = logging.getLogger(__name__)

# 20 ms audio frames: 0.3 s of patience for a busy encoder. Pictures: the newest two.
QUEUE_FRAMES = {"audio": 15, "video": 2}


class Listener:
    """One reader's queue. Overflow rule: the oldest frame is dropped and counted in `dropped`."""

    def __init__(self, relay: Relay, size: int) -> None:
        self._relay = relay
        self._frames: deque[Any] = deque(maxlen=size)
        self._wake = asyncio.Event()
        self._ended = False
        self.dropped = 0

    def push(self, frame: Any) -> None:
        if len(self._frames) == self._frames.maxlen:
            self.dropped += 1
        self._frames.append(frame)
        self._wake.set()

    def end(self) -> None:
        self._ended = True
        self._wake.set()

    async def recv(self) -> Any:
        """The next frame. Raises MediaStreamError when the track ended."""
        while not self._frames:
            if self._ended:
                raise MediaStreamError
            self._wake.clear()
            await self._wake.wait()
        return self._frames.popleft()

    def stop(self) -> None:
        self._relay.leave(self)
        self.end()


class Relay:
    """Reads its track while somebody listens, and only then; the track itself is never stopped here."""

    def __init__(self, track: MediaStreamTrack) -> None:
        self.track = track
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None

    def listen(self) -> Listener:
        """One more reader."""
        listener = Listener(self, QUEUE_FRAMES.get(self.track.kind, 2))
        self._listeners.add(listener)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._read(), name=f"relay-{self.track.kind}")
        return listener

    def leave(self, listener: Listener) -> None:
        self._listeners.discard(listener)
        if not self._listeners and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _read(self) -> None:
        try:
            while True:
                frame = await self.track.recv()
                for listener in self._listeners:
                    listener.push(frame)
        except MediaStreamError:
            pass
        except Exception:
            log.exception("the %s track %s failed", self.track.kind, self.track.id)
        for listener in list(self._listeners):
            listener.end()
