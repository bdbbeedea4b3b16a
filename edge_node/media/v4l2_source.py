"""A USB camera, or whatever else gives pictures through Video4Linux."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from dataclasses import replace

from edge_node.errors import DeviceMissing, SourceLost
from edge_node.media.packet_queue import GOP_CACHE_S
from edge_node.media.source_thread import run_in_thread
from edge_node.media.stall_watch import FIRST_PICTURE_S, STALL_S, StallWatch
from edge_node.media.v4l2.capture import Capture, Filled
from edge_node.media.v4l2.device import Device, KernelDevice
from edge_node.media.v4l2.offers import Wish
from edge_node.media.v4l2.pictures import Pictures, SeldomKeyframes
from edge_node.ports import Clock, VideoSink

log = logging.getLogger(__name__)

WAIT_S = 0.25
"""How long stop may remain unseen while the camera gives nothing."""
OLDEST_S = 1.0
"""A picture cannot have been taken longer ago, or later than now: the driver's clock is another one."""


class V4l2Source:
    """The source `v4l2`: the format that costs least among those that the camera gives at the planned size and rate.

    H.264 of cameras that encode themselves is handed through, unless `coded` is false, or one of them is found to send
    keyframes more seldom than once in seldom_s: it is asked for something else from then on. run() raises DeviceMissing
    without a usable device, SourceLost when it goes away, is in use or stands still.
    """

    label = "v4l2"
    demand = None

    def __init__(
        self,
        device: str,
        width_px: int,
        height_px: int,
        fps: int,
        clock: Clock,
        *,
        coded: bool = True,
        seldom_s: float = GOP_CACHE_S,
        open_device: Callable[[str], Device] = KernelDevice,
        stall_s: float = STALL_S,
        first_picture_s: float = FIRST_PICTURE_S,
    ) -> None:
        self._device = device
        self._wish = Wish(width_px, height_px, fps, coded)
        self._seldom_s = seldom_s
        self._clock = clock
        self._open_device = open_device
        self._stall_s = stall_s
        self._first_picture_s = first_picture_s
        self._inside = False
        self._last_at = 0.0
        self.decoders_opened = 0

    async def run(self, sink: VideoSink) -> None:
        """Delivers pictures until cancelled."""
        if self._inside:
            raise SourceLost(f"the driver of {self._device} does not let go: unplug the camera and plug it in again")
        watch = StallWatch(sink, self._clock, self._stall_s, self._first_picture_s)
        lost = f"{self._device} gives no pictures any more: check the camera and its cable"
        await watch.run(lambda to: run_in_thread(lambda stop: self._film(to, stop), "video-v4l2"), lost)

    def _film(self, sink: VideoSink, stop: threading.Event) -> None:
        self._inside = True
        try:
            device = self._open_device(self._device)
            try:
                capture = Capture(device, self._wish)
            except OSError:
                device.close()
                raise
            try:
                self._deliver(capture, sink, stop)
            finally:
                capture.close()
        except SeldomKeyframes:
            self._wish = replace(self._wish, coded=False)
            raise SourceLost(f"{self._device} sends keyframes too seldom: its H.264 is not used any more") from None
        except OSError as err:
            raise self._explain(err) from err
        finally:
            self._inside = False

    def _deliver(self, capture: Capture, sink: VideoSink, stop: threading.Event) -> None:
        log.info("%s gives %s", self._device, capture.layout)
        pictures = Pictures(capture.layout, sink, self._seldom_s)
        self.decoders_opened += pictures.decodes
        passed_over = 0
        while not stop.is_set():
            filled = capture.next(WAIT_S)
            if filled is None:
                continue
            if capture.passed_over != passed_over:
                passed_over = capture.passed_over
                pictures.gap()
            try:
                pictures.take(filled, self._taken_at(filled))
            finally:
                capture.done(filled)
        log.debug("%s: %d pictures passed over, %d broken", self._device, capture.passed_over, pictures.broken)

    def _taken_at(self, filled: Filled) -> float:
        """By the driver's clock where that is ours; never before the picture before it."""
        now = self._clock.monotonic()
        at = filled.taken_at_s
        if at is None or not now - OLDEST_S <= at <= now:
            at = now
        self._last_at = max(self._last_at, at)
        return self._last_at

    def _explain(self, err: OSError) -> DeviceMissing | SourceLost:
        name = self._device
        match err.errno:
            case errno.EBUSY:
                return SourceLost(f"{name} is in use by another program: end that one")
            case errno.EACCES | errno.EPERM:
                return DeviceMissing(f"{name} may not be opened: add the service's user to the group video")
            case errno.ENOENT | errno.EINVAL | errno.ENOTTY:
                return DeviceMissing(f"{name} is no camera that works: plug one in, or set video.device")
            case errno.ENOSPC:
                return SourceLost(
                    f"the USB bus has no room for the pictures of {name}: use another port or smaller ones"
                )
            case errno.ENOMEM:
                return SourceLost(f"the kernel has no memory for the pictures of {name}: lower video.width_px")
            case _:
                return SourceLost(f"{name} is gone ({err.strerror}): check the camera and its cable")
