"""Clips of who pressed the button, with the seconds before the press."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import av
from aiortc.mediastreams import MediaStreamError

from edge_node.aio.tasks import TaskGroup
from edge_node.errors import DeviceMissing, EdgeNodeError
from edge_node.media import h264
from edge_node.media.clip_ring import ClipRing, MediaTime, Piece
from edge_node.media.clip_shelf import Clip, ClipShelf
from edge_node.media.mp4 import mp4
from edge_node.ports import SAMPLE_RATE, VIDEO_CLOCK, AccessUnit, Clock, Demand

if TYPE_CHECKING:
    from edge_node.media.view import View
    from edge_node.media.views import FanoutTrack

log = logging.getLogger(__name__)

RING_BYTES = 16_000_000
"""12 s at 10 Mbit/s; a longer pre-roll at a high rate gets shorter."""
CLIP_BYTES = 64_000_000
TICK_S = 0.25
_PAUSED = 'outside calls nothing is encoded, set video.publish = "always"'
MOST_PARTS = 3
"""Files of one press, when the pictures change their size meanwhile; the oldest clips have to make room for each."""


class Report(Protocol):
    """How the part says how it is."""

    def up(self) -> None: ...

    def down(self, reason: str) -> None: ...


@dataclass(slots=True)
class _Recording:
    reason: str
    at: float
    ends_s: float
    pieces: list[Piece]
    size: int
    broken: bool = False
    """No more pieces fit: other parameter sets once too often, or CLIP_BYTES."""
    part: int = 1


class ClipRecorder:
    """ports.VideoSink of coded pictures; raw ones it gets from the publication's one encoder, as one more view.

    That view makes the encoder run while nobody watches. A press while a clip is being recorded makes it longer; one
    whose pictures change their size goes on in another file.
    unit(), picture() from any thread; the rest on the event loop.
    """

    def __init__(
        self,
        shelf: ClipShelf | None,
        video: FanoutTrack,
        sound: FanoutTrack | None,
        clock: Clock,
        *,
        pre_s: float,
        post_s: float,
        demand: Callable[[], Demand | None],
        on_saved: Callable[[Clip], None] = lambda clip: None,
    ) -> None:
        self._shelf = shelf
        self._video = video
        self._sound = sound
        self._clock = clock
        self._pre_s = pre_s
        self._post_s = post_s
        self._demand = demand
        self._on_saved = on_saved
        self._ring = ClipRing(pre_s, RING_BYTES)
        self._lock = threading.Lock()
        self._recording: _Recording | None = None
        self._ended: deque[_Recording] = deque()
        """Parts that wait to be saved, at most MOST_PARTS - 1 of each press."""
        self._sps: bytes | None = None
        self._times = {False: MediaTime(), True: MediaTime()}
        self._raw = False
        self._view: View | None = None
        self._asked_s = float("-inf")
        self._shut = False
        self.saved = 0

    @property
    def own_views(self) -> int:
        """Views of the picture that are no viewers."""
        return int(self._view is not None)

    @property
    def recording(self) -> bool:
        return self._recording is not None

    # ports.VideoSink

    def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
        """Tells only that pictures come raw: their coded form comes from the view."""
        self._raw = True

    def unit(self, unit: AccessUnit) -> None:
        self._raw = False
        if unit.decode_as is None:  # a camera of another codec is transcoded, and then comes from the view
            self._picture(unit.data, unit.keyframe, unit.timestamp / VIDEO_CLOCK, unit.captured_at)
        else:
            self._raw = True

    # What the node asks

    def press(self, reason: str) -> None:
        """A clip begins, with what was before; one that is being recorded goes on."""
        now = self._clock.monotonic()
        with self._lock:
            if self._shut:
                return
            if self._recording is not None:
                self._recording.ends_s = now + self._post_s
                return
            pieces = self._ring.pieces(now)
            size = sum(len(piece.data) for piece in pieces)
            self._recording = _Recording(reason, self._clock.wall(), now + self._post_s, pieces, size)

    def shut(self, shut: bool) -> None:
        """Privacy: what was seen before is forgotten, what was being recorded ends."""
        with self._lock:
            self._shut = shut
            self._ring.clear()
            if self._recording is not None:
                self._recording.ends_s = float("-inf")

    def clips(self) -> list[Clip]:
        """Blocking. Raises DeviceMissing without a directory, OSError when it cannot be read."""
        return self._the_shelf().clips()

    def delete(self, name: str) -> None:
        """Blocking. Raises UsageError for an unknown name."""
        self._the_shelf().delete(name)

    async def run(self, report: Report) -> None:
        """The part; a disk that is full or read-only degrades it, and it goes on."""
        shelf = self._the_shelf()
        tasks = TaskGroup("clips")
        try:
            await self._try(report, lambda: shelf.open())
            if self._sound is not None:
                tasks.spawn(self._listen(self._sound), "sound")
            while True:
                if self._raw and self._view is None:
                    self._view = self._video.subscribe(own=True)
                    tasks.spawn(self._watch(self._view), "pictures")
                self._keep_keyframes_coming()
                if (done := self._finished()) is not None:
                    await self._save(report, shelf, done)
                await asyncio.sleep(TICK_S)
        finally:
            while (last := self._take()) is not None:
                await self._save(report, shelf, last)
            if self._view is not None:
                self._view.stop()
                self._view = None
            await tasks.close()

    def _the_shelf(self) -> ClipShelf:
        if self._shelf is None:
            raise DeviceMissing("clips have no directory: set clip.directory")
        return self._shelf

    # Pictures and sound

    async def _watch(self, view: View) -> None:
        try:
            while True:
                packet = await view.recv()
                if self._raw and packet.pts is not None:
                    now = self._clock.monotonic()
                    self._picture(bytes(packet), packet.is_keyframe, packet.pts / VIDEO_CLOCK, now)
        except MediaStreamError:
            self._view = None

    async def _listen(self, track: FanoutTrack) -> None:
        view = track.subscribe(own=True)
        try:
            while True:
                packet = await view.recv()
                if packet.pts is not None:
                    with self._lock:
                        at_s = self._times[True].place(packet.pts / SAMPLE_RATE, self._clock.monotonic())
                        self._put(Piece(bytes(packet), at_s, keyframe=True, sound=True))
        except MediaStreamError:
            return
        finally:
            view.stop()

    def _picture(self, data: bytes, keyframe: bool, media_s: float, arrived_s: float) -> None:
        sps = h264.parameter_sets(data).get(h264.NAL_SPS) if keyframe else None
        with self._lock:
            if sps is not None and sps != self._sps:
                self._sps = sps
                self._ring.clear()
                if self._recording is not None and self._recording.pieces:
                    self._go_on_in_another(self._recording)
            if keyframe and sps is None:
                return  # nothing can begin here
            self._put(Piece(data, self._times[False].place(media_s, arrived_s), keyframe))

    def _go_on_in_another(self, recording: _Recording) -> None:
        """An MP4 file holds pictures of one kind: the rest of the time goes into a file of its own."""
        if recording.part == MOST_PARTS:
            recording.broken = True
            return
        self._ended.append(recording)
        self._recording = _Recording(
            recording.reason, self._clock.wall(), recording.ends_s, [], 0, part=recording.part + 1
        )

    def _put(self, piece: Piece) -> None:
        if self._shut:
            return
        self._ring.put(piece)
        recording = self._recording
        if recording is None or recording.broken or (not recording.pieces and (piece.sound or not piece.keyframe)):
            return
        if recording.size + len(piece.data) > CLIP_BYTES:
            recording.broken = True
            return
        recording.pieces.append(piece)
        recording.size += len(piece.data)

    def _keep_keyframes_coming(self) -> None:
        """So that a pre-roll can begin: one is asked for when the newest is older than half of it."""
        now = self._clock.monotonic()
        newest = self._ring.newest_keyframe_s
        every_s = max(self._pre_s / 2, 1.0)
        if self._shut or now - self._asked_s < every_s or (newest is not None and now - newest < every_s):
            return
        asked: Demand | None = self._view if self._raw else self._demand()
        if asked is not None:
            self._asked_s = now
            asked.request_keyframe()

    # Files

    def _finished(self) -> _Recording | None:
        recording = self._recording
        if not self._ended and (
            recording is None or not (recording.broken or self._clock.monotonic() >= recording.ends_s)
        ):
            return None
        return self._take()

    def _take(self) -> _Recording | None:
        with self._lock:
            if self._ended:
                return self._ended.popleft()
            recording, self._recording = self._recording, None
        return recording

    async def _save(self, report: Report, shelf: ClipShelf, done: _Recording) -> None:
        if not done.pieces and done.part > 1:
            return
        if not done.pieces:
            paused = self._raw and self._video.paused
            report.down(f"a clip has no picture in it: {_PAUSED if paused else 'see what the camera does'}")
            return
        kept: list[Clip] = []
        pieces = [done.pieces[0], *sorted(done.pieces[1:], key=lambda piece: piece.at_s)]
        await self._try(report, lambda: kept.append(shelf.add(mp4(pieces), done.reason, done.at)))
        for clip in kept:
            self.saved += 1
            log.info("clip %s was saved (%d kB)", clip.name, clip.bytes // 1000)
            self._on_saved(clip)

    async def _try(self, report: Report, work: Callable[[], None]) -> None:
        try:
            await asyncio.to_thread(work)
        except OSError as err:
            where = self._the_shelf().directory
            report.down(f"clips cannot be kept in {where} ({err.strerror}): make room there, or make it writable")
        except (EdgeNodeError, ValueError, av.FFmpegError) as err:
            report.down(f"a clip was not kept: {err}")
        else:
            report.up()
