"""The one encoder of raw pictures, in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import av
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from edge_node.aio.heartbeats import HEARTBEATS
from edge_node.encode_plan.bitrate import BitrateControl
from edge_node.encode_plan.pace import FrameLimiter
from edge_node.encode_plan.plan import Plan, fit
from edge_node.media.encoders import v4l2m2m
from edge_node.media.encoders.codec import TIME_BASE, Codec, OpenCodec
from edge_node.media.encoders.libx264 import open_libx264
from edge_node.ports import VIDEO_CLOCK, Clock

if TYPE_CHECKING:
    from edge_node.media.packet_queue import Packet

log = logging.getLogger(__name__)

# x264 at a constant rate counts pictures, not time: opened for 30/s it gives half the bit rate to a source of 15/s.
RATE_OFF = 0.25
RETRY_S = 5.0
IDLE_WAIT_S = 5.0


class VideoEncoder:
    """Encodes the newest picture while somebody wants it.

    Input: one slot, newest wins, `dropped` counts the others. Output: `on_packet(packet, keyframe)` from the encoder's
    thread, pts counting VIDEO_CLOCK ticks since `origin` (Clock.monotonic() seconds). `measured_fps()` is what the
    source really gives, 0 while unknown. A failing codec is opened again at once; if that fails too, `fault` says so,
    until another attempt RETRY_S later works. Once the board's own encoder has failed, libx264 stands in for it.
    """

    def __init__(
        self,
        plan: Plan,
        clock: Clock,
        on_packet: Callable[[Packet, bool], None],
        *,
        origin: float = 0.0,
        measured_fps: Callable[[], float] = lambda: 0.0,
        open_codec: OpenCodec | None = None,
        open_board: OpenCodec = v4l2m2m.open_v4l2m2m,
    ) -> None:
        self._plan = plan
        self._clock = clock
        self._on_packet = on_packet
        self._origin = origin
        self._open_codec = open_codec
        self._open_board = open_board
        self._limiter = FrameLimiter(plan.fps)
        self._control = BitrateControl(plan.min_kbps, plan.max_kbps)
        self._measured_fps = measured_fps
        self._reformatter = VideoReformatter()
        self._codec: Codec | None = None
        self._ceiling_kbps = 0
        self._codec_fps = 0.0
        self._codec_size = (0, 0)
        self._rate_kbps = 0
        self._opened_at = 0.0
        self._retry_at = 0.0
        self._last_pts = -1
        self._changed = threading.Condition()
        self._slot: tuple[av.VideoFrame, float] | None = None
        self._wanted = False
        self._keyframe = False
        self._release = False
        self._replanned: Plan | None = None
        self._closing = False
        self.encoded = 0
        self.opened = 0
        self.dropped = 0
        self.late = 0
        self.fault: str | None = None
        self.software_instead = False
        self._thread = threading.Thread(target=self._run, name="video-encoder", daemon=True)
        self._thread.start()

    @property
    def name(self) -> str:
        """The encoder in use, as in Plan.encoder."""
        return v4l2m2m.NAME if self._by_board else "libx264"

    @property
    def _by_board(self) -> bool:
        return self._plan.encoder == v4l2m2m.NAME and not self.software_instead

    def limited_by_path(self, sent_kbps: float) -> bool:
        """Whether a viewer's path, not the plan or the scene, sets the bit rate of what is sent now."""
        return self._control.limited_by_path(sent_kbps)

    def offer(self, frame: av.VideoFrame, captured_at: float) -> None:
        """Puts a picture into the slot; from any thread. The encoder may change the picture's timestamps."""
        with self._changed:
            if not self._wanted or not self._limiter.take(captured_at):
                return
            if self._slot is not None:
                self.dropped += 1
                self.late += 1
            self._slot = (frame, captured_at)
            self._changed.notify()

    def want(self, wanted: bool) -> None:
        """Whether anybody watches; without viewers nothing is encoded and the codec is let go."""
        with self._changed:
            if wanted and not self._wanted:
                self._control.begin(self._clock.monotonic())
            self._wanted = wanted
            if not wanted:
                self._slot = None
                self._release = True  # whoever comes next begins with a fresh keyframe
            self._changed.notify()

    def request_keyframe(self) -> None:
        """The next picture becomes a keyframe."""
        with self._changed:
            self._keyframe = True

    def set_bitrate(self, kbps: int) -> None:
        """The viewers' paths carry this much; takes effect with the next picture, without a keyframe."""
        with self._changed:
            self._control.path_carries(kbps)

    def set_plan(self, plan: Plan) -> None:
        """Takes effect with the next picture; another size, encoder or a higher ceiling open the codec anew."""
        with self._changed:
            if plan.fps != (self._replanned or self._plan).fps:
                self._limiter = FrameLimiter(plan.fps)
            self._replanned = plan

    def close(self, timeout_s: float = 2.0) -> None:
        """Ends the thread; waits at most timeout_s for it."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._slot is None and not self._release and not self._closing:
                    self._changed.wait(IDLE_WAIT_S)
                if self._closing:
                    break
                slot, self._slot = self._slot, None
                keyframe, self._keyframe = self._keyframe, False
                if self._release:
                    self._codec, self._release = None, False
                self._take_plan()
            if slot is not None:
                with HEARTBEATS.step("video-encoder"):
                    self._encode_or_rebuild(*slot, keyframe)
        self._codec = None

    def _take_plan(self) -> None:
        if self._replanned is None:
            return
        before, self._plan, self._replanned = self._plan, self._replanned, None
        self._control.set_limits(self._plan.min_kbps, self._plan.max_kbps)
        how = (self._plan.encoder, self._plan.preset)
        if how != (before.encoder, before.preset) or self._plan.max_kbps > self._ceiling_kbps:
            self._codec = None

    def _encode_or_rebuild(self, frame: av.VideoFrame, captured_at: float, keyframe: bool) -> None:
        if self._clock.monotonic() < self._retry_at:
            self.dropped += 1
            return
        for attempt in (1, 2):
            try:
                self._encode(frame, captured_at, keyframe)
            except (av.FFmpegError, ValueError, MemoryError) as err:
                log.warning("the video encoder failed (attempt %d): %s", attempt, err)
                self._codec = None
                reason = str(err)
                if self._by_board:
                    log.warning("the board's encoder is given up, libx264 takes its place")
                    self.software_instead = True
            else:
                self.fault = None
                return
        self.dropped += 1
        self.fault = f"the video encoder fails ({reason}): it is tried again every {RETRY_S:g} s"
        self._retry_at = self._clock.monotonic() + RETRY_S

    def _encode(self, frame: av.VideoFrame, captured_at: float, keyframe: bool) -> None:
        now = self._clock.monotonic()
        codec = self._codec_for(frame, now)
        rate = self._control.target_kbps(now)
        if rate != self._rate_kbps:
            codec.bit_rate, self._rate_kbps = rate * 1000, rate
        width, height = self._codec_size
        if (frame.width, frame.height, frame.format.name) != (width, height, "yuv420p"):
            frame = self._reformatter.reformat(frame, width, height, "yuv420p")
        pts = max(self._last_pts + 1, int((captured_at - self._origin) * VIDEO_CLOCK))
        frame.pts, frame.time_base, self._last_pts = pts, TIME_BASE, pts
        frame.pict_type = PictureType.I if keyframe else PictureType.NONE
        for packet in codec.encode(frame):
            self.encoded += 1
            self._on_packet(packet, packet.is_keyframe)

    def _codec_for(self, frame: av.VideoFrame, now: float) -> Codec:
        size = fit(frame.width, frame.height, self._plan)
        fps = float(min(self._plan.fps, round(self._measured_fps())) or self._plan.fps)
        # Pictures are counted over two seconds before their rate is believed.
        off = abs(fps / self._codec_fps - 1) > RATE_OFF and now - self._opened_at > 2.0 if self._codec_fps else False
        if self._codec is None or size != self._codec_size or off:
            self._codec = self._open(*size, fps)
            self._codec_size, self._codec_fps, self._opened_at = size, fps, now
            self._rate_kbps = self._ceiling_kbps = self._plan.max_kbps
            self.opened += 1
            log.info("%s opened: %dx%d at %.0f/s, at most %d kbit/s", self.name, *size, fps, self._plan.max_kbps)
        return self._codec

    def _open(self, width_px: int, height_px: int, fps: float) -> Codec:
        ceiling_kbps = self._plan.max_kbps
        if self._by_board:
            return self._open_board(width_px, height_px, fps, ceiling_kbps)
        if self._open_codec is not None:
            return self._open_codec(width_px, height_px, fps, ceiling_kbps)
        return open_libx264(width_px, height_px, fps, ceiling_kbps, self._plan.preset)
