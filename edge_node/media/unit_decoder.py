"""Pictures out of coded ones, in a thread of its own."""

from __future__ import annotations

import heapq
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import av

from edge_node.aio.heartbeats import HEARTBEATS
from edge_node.encode_plan.decode import MAX_PIXELS
from edge_node.media.packet_queue import PacketQueue
from edge_node.rtp.packetize import Unit

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

log = logging.getLogger(__name__)

MAX_QUEUE_S = 0.5
MAX_REORDERED = 32
"""Pictures a decoder holds back at most (16 in H.264 and H.265), with as many that it swallowed."""
THREADS = 2
IDLE_WAIT_S = 5.0
LOW_DELAY = 1 << 19  # AV_CODEC_FLAG_LOW_DELAY


class Due(NamedTuple):
    """A coded picture, to be shown at `at_s`."""

    unit: Unit
    at_s: float
    duration_s: float


def open_decoder(codec_name: str, *, reorders: bool) -> VideoCodecContext:
    """A decoder by FFmpeg's name (`h264`, `hevc`, `mjpeg`) that holds back no more than reordering needs."""
    codec = av.CodecContext.create(codec_name, "r")
    assert isinstance(codec, av.VideoCodecContext)
    codec.options = {"max_pixels": str(MAX_PIXELS)}
    # Threads by picture hold one picture back for each thread.
    codec.thread_type = "SLICE"
    codec.thread_count = THREADS
    if not reorders:
        codec.flags |= LOW_DELAY
    return codec


class UnitDecoder:
    """Gives `on_picture(frame, at_s)` in showing order for what offer() takes in decoding order.

    Queue: MAX_QUEUE_S with PacketQueue's overflow rule for pictures. What cannot be decoded is counted in `failures`;
    after it, as after an overflow, nothing is decoded before the next keyframe, which `on_starved()` may ask for. Both
    are called in the decoder's thread. An exception of `on_picture` ends the decoder.
    """

    def __init__(
        self,
        codec_name: str,
        on_picture: Callable[[av.VideoFrame, float], None],
        *,
        on_starved: Callable[[], None] = lambda: None,
        reorders: bool = False,
    ) -> None:
        self._codec_name = codec_name
        self._reorders = reorders
        self._on_picture = on_picture
        self._on_starved = on_starved
        self._queue = PacketQueue[Due](True, MAX_QUEUE_S)
        self._times: list[float] = []
        self._changed = threading.Condition()
        self._closing = False
        self.decoded = 0
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name=f"decoder-{codec_name}", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Coded pictures that were never decoded."""
        return self._queue.dropped + self.failures

    def offer(self, data: bytes, at_s: float, duration_s: float, *, keyframe: bool) -> None:
        """One more coded picture, to be shown at at_s (seconds on any clock); from any one thread, never waits."""
        item = Due(Unit(data, self._codec_name, keyframe=keyframe), at_s, duration_s)
        with self._changed:
            self._queue.put(item)
            starved = self._queue.starved
            self._changed.notify()
        if starved:
            self._on_starved()

    def close(self, timeout_s: float = 2.0) -> None:
        """Ends the thread; waits at most timeout_s for it."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        codec = open_decoder(self._codec_name, reorders=self._reorders)
        while True:
            with self._changed:
                while not self._queue and not self._closing:
                    self._changed.wait(IDLE_WAIT_S)
                if self._closing:
                    return
                item = self._queue.pop()
            with HEARTBEATS.step("decoder"):
                decoded = self._decode(codec, item)
            if not decoded:
                codec = open_decoder(self._codec_name, reorders=self._reorders)
                self._times.clear()
                with self._changed:
                    self._queue.clear()
                self._on_starved()

    def _decode(self, codec: VideoCodecContext, item: Due) -> bool:
        heapq.heappush(self._times, item.at_s)
        try:
            frames = codec.decode(av.Packet(item.unit.data))
        except (av.FFmpegError, ValueError, MemoryError) as err:
            self.failures += 1
            level = logging.WARNING if self.failures == 1 else logging.DEBUG
            log.log(level, "a coded picture (%s) cannot be decoded: %s", self._codec_name, err)
            return False
        for frame in frames:
            self.decoded += 1
            # The times of pictures come out in showing order whatever the decoder made of their timestamps.
            self._on_picture(frame, heapq.heappop(self._times) if self._times else item.at_s)
        while len(self._times) > MAX_REORDERED:
            heapq.heappop(self._times)
        return True
