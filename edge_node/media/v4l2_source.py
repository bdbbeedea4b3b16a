"""A USB camera, or whatever else gives pictures through Video4Linux."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import av

from edge_node.errors import DeviceMissing, SourceLost
from edge_node.media.source_thread import run_in_thread
from edge_node.media.stall_watch import FIRST_PICTURE_S, STALL_S, StallWatch
from edge_node.ports import Clock, VideoSink

if TYPE_CHECKING:
    from av.container.input import InputContainer

    from edge_node.media.packet_queue import Packet

log = logging.getLogger(__name__)

OpenInput = Callable[[str, dict[str, str]], "InputContainer"]
"""open(device, options of FFmpeg's v4l2 input)."""


def open_v4l2(device: str, options: dict[str, str]) -> InputContainer:
    """FFmpeg's v4l2 input."""
    return av.open(device, format="v4l2", options=options)


class V4l2Source:
    """The source `v4l2`: asks for MJPEG first, because USB 2 carries raw 720p at 10 pictures a second only.

    run() raises DeviceMissing without a usable device, SourceLost when it goes away, is in use or stands still.
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
        open_input: OpenInput = open_v4l2,
        stall_s: float = STALL_S,
        first_picture_s: float = FIRST_PICTURE_S,
    ) -> None:
        self._device = device
        self._wishes = {"video_size": f"{width_px}x{height_px}", "framerate": str(fps)}
        self._clock = clock
        self._open_input = open_input
        self._stall_s = stall_s
        self._first_picture_s = first_picture_s
        self._inside = False
        self.decoders_opened = 0

    async def run(self, sink: VideoSink) -> None:
        """Delivers decoded pictures until cancelled."""
        if self._inside:
            raise SourceLost(f"the driver of {self._device} does not let go: unplug the camera and plug it in again")
        watch = StallWatch(sink, self._clock, self._stall_s, self._first_picture_s)
        lost = f"{self._device} gives no pictures any more: check the camera and its cable"
        await watch.run(lambda to: run_in_thread(lambda stop: self._read(to, stop), "video-v4l2"), lost)

    def _read(self, sink: VideoSink, stop: threading.Event) -> None:
        self._inside = True
        try:
            with self._open() as container:
                stream = container.streams.video[0]
                # One thread: each further decoding thread holds a picture back.
                stream.codec_context.thread_count = 1
                self.decoders_opened += 1
                for packet in container.demux(stream):
                    arrived_at = self._clock.monotonic()
                    for frame in _decoded(packet):
                        sink.picture(frame, arrived_at)
                    if stop.is_set():
                        return
        except OSError as err:
            raise self._explain(err) from err
        finally:
            self._inside = False
        raise SourceLost(f"{self._device} ended its stream: check the camera and its cable")

    def _open(self) -> InputContainer:
        tries: list[dict[str, str]] = [{**self._wishes, "input_format": "mjpeg"}, self._wishes, {}]
        refused: OSError | None = None
        for options in tries:
            try:
                container = self._open_input(self._device, options)
            except (OSError, av.FFmpegError) as err:
                refused = err if isinstance(err, OSError) else OSError(errno.EINVAL, str(err))
                if refused.errno not in (errno.EINVAL, errno.EIO, errno.ENOTTY):
                    break
            else:
                log.info("%s opened with %s", self._device, options or "its own format")
                return container
        assert refused is not None
        raise refused

    def _explain(self, err: OSError) -> DeviceMissing | SourceLost:
        match err.errno:
            case errno.EBUSY:
                return SourceLost(f"{self._device} is in use by another program: end that one")
            case errno.EACCES | errno.EPERM:
                return DeviceMissing(f"{self._device} may not be opened: add the service's user to the group video")
            case errno.ENOENT | errno.EINVAL | errno.ENOTTY:
                return DeviceMissing(f"{self._device} is no camera that works: plug one in, or set video.device")
            case _:
                return SourceLost(f"{self._device} is gone ({err.strerror}): check the camera and its cable")


def _decoded(packet: Packet) -> list[av.VideoFrame]:
    try:
        return packet.decode()
    except av.InvalidDataError:  # cheap cameras begin with half a JPEG; if nothing better follows, the watch notices
        return []
