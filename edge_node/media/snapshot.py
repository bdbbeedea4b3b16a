"""The picture of this moment, for whoever asks, without an encoder or a decoder that runs all the time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import av

from edge_node.errors import RetryLater
from edge_node.media.jpeg import LARGEST_PX, encode_jpeg
from edge_node.media.unit_decoder import open_decoder
from edge_node.ports import AccessUnit, Clock, Demand

Decorate = Callable[[av.VideoFrame], av.VideoFrame]

STALE_S = 3.0
"""A source that gave nothing for so long has no picture of this moment."""
KEYFRAME_WAIT_S = 1.0
SHORT_GROUP = 30
"""So many pictures are decoded rather than asking the camera for a keyframe."""
GROUP_UNITS = 300
GROUP_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A JPEG; `age_s` is how long ago the picture was taken."""

    jpeg: bytes
    width_px: int
    height_px: int
    age_s: float


class LatestPicture:
    """ports.VideoSink that keeps the newest raw picture, or the coded ones since the last keyframe.

    Overflow rule of the latter, beyond GROUP_UNITS or GROUP_BYTES: newer ones are left out until the next keyframe,
    so that decoding stays bounded and the picture gets older; `overflows` counts them. picture(), unit(), clear() from
    any thread.
    """

    def __init__(self, clock: Clock, demand: Callable[[], Demand | None], decorate: Decorate | None = None) -> None:
        """`demand()` gives who may be asked for a keyframe now."""
        self._clock = clock
        self._demand = demand
        self._decorate = decorate
        self._lock = threading.Lock()
        self._busy = asyncio.Lock()
        self._frame: tuple[av.VideoFrame, float] | None = None
        self._group: list[AccessUnit] = []
        self._group_bytes = 0
        self._arrived_at = float("-inf")
        self._full = False
        self.overflows = 0
        self.decoders_opened = 0

    def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
        """Kept by reference: nobody may draw into it."""
        with self._lock:
            self._forget()
            self._frame, self._arrived_at = (frame, captured_at), self._clock.monotonic()

    def unit(self, unit: AccessUnit) -> None:
        with self._lock:
            self._arrived_at = self._clock.monotonic()
            if unit.keyframe:
                self._forget()
            elif not self._group:
                return
            if len(self._group) >= GROUP_UNITS or self._group_bytes + len(unit.data) > GROUP_BYTES:
                self._full = True  # a hole: what follows refers to what is left out
            if self._full:
                self.overflows += 1
                return
            self._group.append(unit)
            self._group_bytes += len(unit.data)

    def clear(self) -> None:
        """Forgets what was seen."""
        with self._lock:
            self._forget()
            self._arrived_at = float("-inf")

    async def take(self, max_bytes: int, max_width_px: int = LARGEST_PX) -> Snapshot:
        """Encodes it, one caller at a time. Raises RetryLater when there is no picture of this moment."""
        async with self._busy:
            if self._group and self._must_ask():
                await self._fresh_keyframe()
            with self._lock:
                fresh = self._clock.monotonic() - self._arrived_at <= STALE_S
                frame, group = self._frame, tuple(self._group)
            if not fresh or (frame is None and not group):
                raise RetryLater("there is no picture now: see `edge-node status` for what the camera does")
            return await asyncio.to_thread(self._make, frame, group, max_bytes, max_width_px)

    def _forget(self) -> None:
        self._frame, self._group, self._group_bytes, self._full = None, [], 0, False

    def _must_ask(self) -> bool:
        return self._full or len(self._group) > SHORT_GROUP

    async def _fresh_keyframe(self) -> None:
        demand = self._demand()
        if demand is None:
            return
        demand.request_keyframe()
        try:
            async with asyncio.timeout(KEYFRAME_WAIT_S):
                while self._must_ask():  # noqa: ASYNC110  (units come from another thread)
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return  # what is remembered is decoded then

    def _make(
        self, frame: tuple[av.VideoFrame, float] | None, group: Sequence[AccessUnit], max_bytes: int, max_width_px: int
    ) -> Snapshot:
        if frame is not None:
            picture, captured_at = frame
            if self._decorate is not None:
                picture = self._decorate(picture)
        else:
            picture, captured_at = self._decode(group)
        jpeg, width_px, height_px = encode_jpeg(picture, max_bytes, max_width_px)
        return Snapshot(jpeg, width_px, height_px, max(0.0, self._clock.monotonic() - captured_at))

    def _decode(self, group: Sequence[AccessUnit]) -> tuple[av.VideoFrame, float]:
        codec = open_decoder(group[0].decode_as or "h264", reorders=True)
        self.decoders_opened += 1
        newest: av.VideoFrame | None = None
        for unit in group:
            try:
                frames = codec.decode(av.Packet(unit.data))
            except av.FFmpegError:  # a damaged picture: the ones after it show what can be shown
                continue
            newest = frames[-1] if frames else newest
        try:
            newest = [newest, *codec.decode(None)][-1]
        except av.FFmpegError:
            pass
        if newest is None:
            raise RetryLater(
                "the camera's pictures cannot be decoded: try again, then see that they have at most 4096x2304"
            )
        return newest, group[-1].captured_at
