"""The sound or pictures of a device, a stream or a file as tracks."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from typing import Any

from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

from edge_node.aio.tasks import cancel_and_wait
from edge_node.errors import DeviceMissing, EdgeNodeError, LoginRefused, RetryLater, SourceLost
from edge_node.media.player_input import BOTH, Kind
from edge_node.media.player_queue import FILE_FRAMES, LIVE_FRAMES, Frame, FrameQueue
from edge_node.media.player_reader import FileReader, Reader
from edge_node.protocol.backoff import Backoff, BackoffPolicy

log = logging.getLogger(__name__)

RETRY = BackoffPolicy(initial_s=0.5, max_s=10.0, max_attempts=float("inf"), stable_s=5.0)
REFUSED_S = 60.0
"""Cameras lock out who asks often with a wrong password."""
LOOK_S = 0.1
FIRST_S = 10.0
STALL_S = 3.0
LEFT_S = 0.3
"""A reading that was cancelled is over, unless somebody reads again at once."""
IDLE_S = {True: 5.0, False: 1.0}
"""Nobody reads a live source, or a file, when nobody has asked for so long: opening a camera again takes a second."""
MAX_LATE_S = 0.5
PAUSE_S = 1.0
CLOSE_S = 2.0


class PlayClock:
    """When a moment of a file is due: one clock for its sound and its pictures, which stands while nobody asks."""

    def __init__(self) -> None:
        self._began: float | None = None
        self._asked_at = 0.0

    def late_s(self, at_s: float, now: float) -> float:
        """How late this moment is; negative when it is still to come. The first one asked for is due at once."""
        if self._began is None:
            self._began = now - at_s
        elif now - self._asked_at > PAUSE_S:
            self._began += now - self._asked_at
        self._asked_at = now
        return now - self._began - at_s

    def given(self, now: float) -> None:
        """A frame was given out."""
        self._asked_at = now

    def put_off(self, late_s: float) -> None:
        """Goes on from here."""
        if self._began is not None:
            self._began += late_s

    def position_s(self, now: float) -> float:
        """What is due now."""
        return 0.0 if self._began is None else now - self._began


class PlayerTrack(MediaStreamTrack):
    """One kind of media of a MediaSource; its source is open while somebody calls recv()."""

    def __init__(self, kind: Kind, clock: PlayClock | None) -> None:
        super().__init__()
        self.kind = kind
        self._clock = clock
        self.queue = FrameQueue((LIVE_FRAMES if clock is None else FILE_FRAMES)[kind])
        self.feeding: Feeding | None = None
        self._idle_s = IDLE_S[clock is None]
        self._readers = 0
        self._free_at = float("-inf")
        self._skipped = 0

    @property
    def dropped(self) -> int:
        """Frames that nobody fetched in time."""
        return self.queue.dropped + self._skipped

    def in_use(self) -> bool:
        """Whether somebody reads it, or did a moment ago."""
        return self.readyState == "live" and (self._readers > 0 or time.monotonic() < self._free_at)

    def hold(self) -> None:
        """Counts as read for a moment longer."""
        self._free_at = time.monotonic() + self._idle_s

    async def recv(self) -> Frame:
        """The next frame. Raises MediaStreamError at the end."""
        if self.readyState != "live" or self.feeding is None:
            raise MediaStreamError("this track has ended")
        self._readers += 1
        self.feeding.wake()
        linger_s = self._idle_s
        try:
            return await self._next()
        except asyncio.CancelledError:
            linger_s = LEFT_S
            raise
        finally:
            self._readers -= 1
            self._free_at = time.monotonic() + linger_s

    def stop(self) -> None:
        """Ends the track; the source is released with the last one."""
        if self.readyState == "live":
            super().stop()
            self.queue.end()
            self.queue.clear()
            if self.feeding is not None:
                self.feeding.track_ended()

    async def _next(self) -> Frame:
        while True:
            frame = await self.queue.get()
            if frame is None or self.readyState != "live":
                self.stop()
                raise MediaStreamError("this track has ended")
            if self._clock is None:
                return frame
            late_s = self._clock.late_s(frame.time or 0.0, time.monotonic())
            if late_s > MAX_LATE_S and not self._others_play():
                self._clock.put_off(late_s)
            elif late_s > MAX_LATE_S and len(self.queue):
                self._skipped += 1
                continue
            await asyncio.sleep(max(0.0, -late_s))
            self._clock.given(time.monotonic())
            return frame

    def _others_play(self) -> bool:
        return self.feeding is not None and self.feeding.others_play()


class Feeding:
    """Keeps one reader at work while its tracks are read; a source that is lost is opened again, a file is not."""

    def __init__(self, label: str, reader: Reader, tracks: Sequence[PlayerTrack], clock: PlayClock | None) -> None:
        self._label = label
        self._reader = reader
        self._clock = clock
        self._task: asyncio.Task[None] | None = None
        self._over = False
        self.tracks = tuple(tracks)
        self.siblings: Sequence[PlayerTrack] = ()
        self.error: EdgeNodeError | None = None
        self.settled = asyncio.Event()
        """It plays, or there is an error."""
        self.losses = 0
        for track in self.tracks:
            track.feeding = self

    @property
    def kinds(self) -> tuple[Kind, ...] | None:
        return self._reader.kinds

    def wake(self) -> None:
        """Somebody reads."""
        for track in self.tracks:
            track.queue.wanted = track.in_use()
        if not self._over and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._run(), name="media-source")

    def track_ended(self) -> None:
        """One track less; without any, nothing is read any more."""
        if not any(track.readyState == "live" for track in self.tracks):
            self._over = True
            if self._task is not None:
                self._task.cancel()

    async def closed(self) -> None:
        """Waits until the source is released."""
        await cancel_and_wait(self._task, CLOSE_S)

    def others_play(self) -> bool:
        """Whether another part of the same file is read."""
        return any(track.in_use() for track in self.siblings if track not in self.tracks)

    def _used(self) -> bool:
        return any(track.in_use() for track in self.tracks)

    async def _run(self) -> None:
        backoff = Backoff(RETRY)
        while self._used() and not self._over:
            try:
                await self._session(backoff)
            except (RetryLater, DeviceMissing) as err:
                self._note(err)
                if self._clock is not None:
                    self._finish()
                    return
                backoff.lost(time.monotonic())
                refused = isinstance(err, LoginRefused)
                await self._pause(backoff.delay(random.random(), REFUSED_S if refused else 0.0) or 0.0)

    async def _session(self, backoff: Backoff) -> None:
        """Reads until nobody wants it any more, or to the end of a file. Raises when the source is lost."""
        if isinstance(self._reader, FileReader) and self._clock is not None:
            self._reader.begin_s = self._clock.position_s(time.monotonic())
        began = time.monotonic()
        plays = False
        queues = {track.kind: track.queue for track in self.tracks}
        task = asyncio.get_running_loop().create_task(self._reader.run(queues), name=f"read {self._label}")
        try:
            while not task.done():
                await asyncio.wait([task], timeout=LOOK_S)
                if not plays and self._reader.heard_at is not None:
                    plays = True
                    backoff.connected(time.monotonic())
                    self._opened()
                if self._clock is None and not task.done():
                    if not self._look():
                        return
                    self._check(began)
            task.result()
            self._opened()
            self._over = True
        finally:
            await cancel_and_wait(task)
            if self._clock is None:
                for track in self.tracks:
                    track.queue.clear()

    def _look(self) -> bool:
        """Tells the reader what is wanted; False when nothing is."""
        for track in self.tracks:
            track.queue.wanted = track.in_use()
        return self._used()

    def _check(self, began: float) -> None:
        heard_at = self._reader.heard_at
        patience_s, since = (FIRST_S, began) if heard_at is None else (STALL_S, heard_at)
        if time.monotonic() - since > patience_s:
            raise SourceLost(f"{self._label} sent nothing for {patience_s:g} s: check its power, cable and network")

    def _opened(self) -> None:
        self.error = None
        self.settled.set()
        for track in self.tracks:
            if self.kinds is not None and track.kind not in self.kinds:
                track.stop()

    def _note(self, err: EdgeNodeError) -> None:
        if str(err) != str(self.error):
            log.warning("%s", err)
        self.error = err
        self.losses += 1
        self.settled.set()

    def _finish(self) -> None:
        self._over = True
        for track in self.tracks:
            track.stop()

    async def _pause(self, delay_s: float) -> None:
        """Waits, but not for a source that nobody wants any more."""
        until = time.monotonic() + delay_s
        while self._used() and (left_s := until - time.monotonic()) > 0:  # noqa: ASYNC110  (unused: by time)
            await asyncio.sleep(min(LOOK_S, left_s))


class MediaSource:
    """The tracks of one source; owned by whoever made it.

    The source is opened by the first recv() and released when nobody reads any more, or by stop().
    """

    def __init__(self, label: str, feedings: Sequence[Feeding]) -> None:
        self._label = label
        self._feedings = tuple(feedings)
        self._tracks = {track.kind: track for feeding in feedings for track in feeding.tracks}
        for feeding in feedings:
            feeding.siblings = tuple(self._tracks.values())

    def __repr__(self) -> str:
        return f"MediaSource({self._label}, {'+'.join(k for k in BOTH if self._track(k) is not None) or 'nothing'})"

    @property
    def audio(self) -> MediaStreamTrack | None:
        """Its sound, None without; until a network stream was reached it may turn out to have none, and ends."""
        return self._track("audio")

    @property
    def video(self) -> MediaStreamTrack | None:
        """Its pictures, None without; until a network stream was reached it may turn out to have none, and ends."""
        return self._track("video")

    @property
    def error(self) -> str | None:
        """What is wrong with it now, in a sentence; None while nothing is known to be."""
        return next((str(f.error) for f in self._feedings if f.error is not None), None)

    @property
    def losses(self) -> int:
        """How often it could not be opened, or was lost."""
        return sum(f.losses for f in self._feedings)

    @property
    def dropped(self) -> int:
        """Frames that nobody fetched in time."""
        return sum(track.dropped for track in self._tracks.values())

    async def opened(self, timeout_s: float = 10.0) -> MediaSource:
        """Waits until it plays. Raises DeviceMissing or SourceLost when it does not; it is tried on if it is read."""
        for track in self._tracks.values():
            track.hold()
        for feeding in self._feedings:
            feeding.wake()
        try:
            async with asyncio.timeout(timeout_s):
                for feeding in self._feedings:
                    await feeding.settled.wait()
        except TimeoutError:
            raise SourceLost(f"{self._label} did not begin within {timeout_s:g} s: check it and its network") from None
        for feeding in self._feedings:
            if feeding.error is not None:
                raise feeding.error
        for track in self._tracks.values():
            track.hold()
        return self

    def stop(self) -> None:
        """Ends both tracks, and releases the source within a second."""
        for track in self._tracks.values():
            track.stop()

    async def close(self) -> None:
        """stop(), then waits until the source is released."""
        self.stop()
        for feeding in self._feedings:
            await feeding.closed()

    async def __aenter__(self) -> MediaSource:
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self.close()

    def _track(self, kind: Kind) -> PlayerTrack | None:
        track = self._tracks.get(kind)
        feeding = None if track is None else track.feeding
        absent = feeding is not None and feeding.kinds is not None and kind not in feeding.kinds
        return None if absent else track
