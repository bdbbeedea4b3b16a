"""One ordinary track, read and encoded once for all its listeners."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcrtpparameters import RTCRtpCodecParameters

from edge_node.realtime.encoding import Coded, FrameEncoder

log = logging.getLogger(__name__)

# 20 ms audio frames: 0.3 s of patience for a busy encoder. Pictures: the newest two.
QUEUE_FRAMES = {"audio": 15, "video": 2}
# Coded pictures depend on one another: some more of them are kept for a sender that is held up.
QUEUE_CODED = {"audio": 15, "video": 8}


class Listener:
    """One reader's queue of frames. Overflow rule: the oldest frame is dropped and counted in `dropped`."""

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
        self._encodings: dict[tuple[object, ...], Encoding] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def encoders(self) -> int:
        """How many encoders work on it now: one for each codec that is sent."""
        return len(self._encodings)

    def listen(self) -> Listener:
        """One more reader of the frames."""
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

    def view(self, codec: RTCRtpCodecParameters, max_kbps: int | None = None) -> View:
        """One more sender of the track in this codec, at most at this bitrate."""
        key = (codec.mimeType.lower(), codec.clockRate, codec.channels, max_kbps)
        encoding = self._encodings.get(key)
        if encoding is None or encoding.ended:
            encoding = self._encodings[key] = Encoding(self, key, FrameEncoder(codec, max_kbps))
        return encoding.view()

    def forget(self, key: tuple[object, ...], encoding: Encoding) -> None:
        if self._encodings.get(key) is encoding:
            del self._encodings[key]

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


class Encoding:
    """One encoder for all who are sent this track in one codec; it works while there is one of them.

    A keyframe is made for whoever asks and goes to all; the bitrate is that of the narrowest path.
    """

    def __init__(self, relay: Relay, key: tuple[object, ...], encoder: FrameEncoder) -> None:
        self._relay = relay
        self._key = key
        self._encoder = encoder
        self._views: set[View] = set()
        self._keyframe = False
        self._kbps: int | None = None
        self.ended = False
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"encode-{relay.track.kind}")

    def view(self) -> View:
        view = View(self, self._relay.track.kind)
        self._views.add(view)
        self.request_keyframe()
        return view

    def leave(self, view: View) -> None:
        self._views.discard(view)
        if self._views:
            self.weigh()
        else:
            self._task.cancel()
            self._end()

    def request_keyframe(self) -> None:
        self._keyframe = True
        ask = getattr(self._relay.track, "request_keyframe", None)  # of a source that encodes by itself
        if ask is not None:
            ask()

    def weigh(self) -> None:
        """Settles for what the narrowest path carries."""
        known = [view.kbps for view in self._views if view.kbps is not None]
        kbps = min(known, default=None)
        if kbps is not None and kbps != self._kbps:
            self._kbps = kbps
            self._encoder.set_bitrate(kbps)

    async def _run(self) -> None:
        listener = self._relay.listen()
        try:
            while True:
                frame = await listener.recv()
                keyframe, self._keyframe = self._keyframe, False
                items = await self._encoder.coded(frame, keyframe)
                self._keyframe |= keyframe and not items
                for item in items:
                    for view in self._views:
                        view.push(item)
        except MediaStreamError:
            pass
        finally:
            listener.stop()
            self._end()

    def _end(self) -> None:
        self.ended = True
        self._relay.forget(self._key, self)
        for view in self._views:
            view.end()


class View:
    """What one sender gets of an Encoding.

    Overflow rule: the oldest 20 ms of sound are dropped; of pictures, all until the next keyframe, which is asked for.
    Both are counted in `dropped`.
    """

    def __init__(self, encoding: Encoding, kind: str) -> None:
        self._encoding = encoding
        self._is_video = kind == "video"
        self._size = QUEUE_CODED.get(kind, 8)
        self._items: deque[Coded] = deque()
        self._wake = asyncio.Event()
        self._waits = self._is_video
        self._ended = False
        self.kbps: int | None = None
        self.dropped = 0

    def push(self, item: Coded) -> None:
        if len(self._items) >= self._size:
            self._overflow()
        if self._waits and not item.keyframe:
            self.dropped += 1
            return
        self._waits = False
        self._items.append(item)
        self._wake.set()

    def _overflow(self) -> None:
        if self._is_video:
            self.dropped += len(self._items)
            self._items.clear()
            self._waits = True
            self._encoding.request_keyframe()
        else:
            self.dropped += 1
            self._items.popleft()

    def end(self) -> None:
        self._ended = True
        self._wake.set()

    async def recv(self) -> Coded:
        """The next one. Raises MediaStreamError when the track ended."""
        while not self._items:
            if self._ended:
                raise MediaStreamError
            self._wake.clear()
            await self._wake.wait()
        return self._items.popleft()

    def request_keyframe(self) -> None:
        self._encoding.request_keyframe()

    def set_bitrate(self, kbps: int) -> None:
        """What the path of this sender carries."""
        self.kbps = kbps
        self._encoding.weigh()

    def stop(self) -> None:
        self._encoding.leave(self)
        self.end()
