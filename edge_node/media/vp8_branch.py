"""One VP8 stream for all viewers that cannot take H.264."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import av
from aiortc.mediastreams import MediaStreamError
from av.video.reformatter import VideoReformatter

from edge_node.encode_plan.meter import RateMeter
from edge_node.encode_plan.plan import Plan
from edge_node.media.keyframe_asks import KeyframeAsks
from edge_node.media.seats import Seats
from edge_node.media.unit_decoder import UnitDecoder
from edge_node.media.video_encoder import VideoEncoder
from edge_node.media.views import FanoutTrack
from edge_node.media.vp8 import MIME_TYPE, LibvpxCodec
from edge_node.ports import VIDEO_CLOCK, Clock

if TYPE_CHECKING:
    from edge_node.media.packet_queue import Packet
    from edge_node.media.view import View

log = logging.getLogger(__name__)

MAX_PICTURE_S = 0.1


class Vp8Branch:
    """Begins with the first view of `track`, ends with the last; itself the Demand of its viewers.

    Raw pictures come by picture(); while the source's own coded pictures go to `main` untouched, the branch is one
    more viewer of `main` and decodes them. Made on the event loop; picture(), request_keyframe() and set_bitrate() may
    come from any thread, the rest is called on the loop.
    """

    def __init__(
        self,
        main: FanoutTrack,
        plan: Plan,
        clock: Clock,
        *,
        origin: float,
        measured_fps: Callable[[], float],
        on_change: Callable[[], None],
        seats: Seats | None = None,
    ) -> None:
        self.track = FanoutTrack("video", MIME_TYPE, demand=self, on_viewers_changed=self._viewers_changed, seats=seats)
        self.track.id = main.id
        self.plan = plan
        self.decoders_opened = 0
        self.keyframes = 0
        self._sent = RateMeter()
        self._main = main
        self._clock = clock
        self._origin = origin
        self._measured_fps = measured_fps
        self._on_change = on_change
        self._asks = KeyframeAsks(clock, self._forward_ask)
        self.track.on_keyframe = self._asks.served
        self._lock = threading.Lock()
        self._encoder: VideoEncoder | None = None
        self._wanted = False
        self._active = True
        self._coded = False
        self._last_pts = 0
        self._view: View | None = None
        self._feeds: set[asyncio.Task[None]] = set()

    @property
    def viewers(self) -> int:
        """How many peers watch this in VP8."""
        return self.track.viewers

    @property
    def own_views(self) -> int:
        """Views of the main track that are the branch itself."""
        return 0 if self._view is None else 1

    def kbps(self, now: float) -> float:
        """Bit rate of the last two seconds."""
        return self._sent.kbps(now)

    @property
    def encodes(self) -> int:
        """Pictures encoded so far."""
        return 0 if self._encoder is None else self._encoder.encoded

    @property
    def offered(self) -> int:
        """Pictures that came to the encoder."""
        return 0 if self._encoder is None else self._encoder.encoded + self._encoder.dropped

    @property
    def late(self) -> int:
        """Pictures that it was still too busy for."""
        return 0 if self._encoder is None else self._encoder.late

    @property
    def dropped(self) -> int:
        """Pictures that some viewer did not get in time."""
        return self.track.dropped + (0 if self._encoder is None else self._encoder.dropped)

    @property
    def fault(self) -> str | None:
        """What is wrong with the encoder; None while all is well."""
        return None if self._encoder is None else self._encoder.fault

    def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
        """A raw picture; left untouched, since another encoder writes its own timestamps into it."""
        if self._wanted and not self._coded:
            self._the_encoder().offer(own_copy(frame), captured_at)

    def request_keyframe(self) -> None:
        """Merged: at most one in KEYFRAME_WINDOW_S, none forgotten."""
        self._asks.ask()

    def set_bitrate(self, kbps: int) -> None:
        """The path to these viewers carries about this much."""
        if self._encoder is not None:
            self._encoder.set_bitrate(kbps)

    def set_plan(self, plan: Plan) -> None:
        """Another plan."""
        self.plan = plan
        if self._encoder is not None:
            self._encoder.set_plan(plan)

    def set_coded(self, coded: bool) -> None:
        """Whether the main track carries the source's own coded pictures, or raw ones come by picture()."""
        self._coded = coded
        self._update()

    def set_active(self, active: bool) -> None:
        """Whether anything flows; it goes on with a keyframe."""
        self._active = active
        if active:
            self._update()
            self.track.resume()
        else:
            self.track.pause()
            self._update()

    async def close(self) -> None:
        """Ends all views and threads."""
        self._active = False
        self._update()
        self._asks.cancel()
        self.track.close()
        if self._feeds:
            await asyncio.wait(self._feeds)
        if self._encoder is not None:
            await asyncio.to_thread(self._encoder.close)

    def _viewers_changed(self, _viewers: int) -> None:
        self._update()
        self._on_change()

    def _update(self) -> None:
        wanted = self._active and self.viewers > 0
        if wanted != self._wanted:
            log.info("VP8 for viewers without H.264 %s", "begins" if wanted else "ends")
        with self._lock:
            self._wanted = wanted
            if self._encoder is not None:
                self._encoder.want(wanted)
        if wanted and self._coded and self._view is None:
            self._view = self._main.subscribe(own=True)
            feed = asyncio.get_running_loop().create_task(self._feed(self._view), name="vp8-feed")
            self._feeds.add(feed)
            feed.add_done_callback(self._feeds.discard)
        elif self._view is not None and not (wanted and self._coded):
            view, self._view = self._view, None
            view.stop()

    async def _feed(self, view: View) -> None:
        """Reads a view of the main track into a decoder until it ends."""
        decoder = UnitDecoder("h264", self._decoded, on_starved=view.request_keyframe)
        self.decoders_opened += 1
        last_pts = 0
        try:
            while True:
                packet = await view.recv()
                assert packet.pts is not None
                # The pictures of a remembered group are 1 ms apart: they fill no queue, and but one of them is encoded.
                duration_s, last_pts = min((packet.pts - last_pts) / VIDEO_CLOCK, MAX_PICTURE_S), packet.pts
                at_s = self._origin + packet.pts / VIDEO_CLOCK
                decoder.offer(bytes(packet), at_s, duration_s, keyframe=packet.is_keyframe)
        except MediaStreamError:
            if view is self._view:  # the main track has ended
                self._view = None
        finally:
            await asyncio.to_thread(decoder.close)

    def _decoded(self, frame: av.VideoFrame, at_s: float) -> None:
        if self._wanted and self._coded:
            self._the_encoder().offer(frame, at_s)

    def _the_encoder(self) -> VideoEncoder:
        with self._lock:
            if self._encoder is None:
                self._encoder = VideoEncoder(
                    self.plan, self._clock, self._send, origin=self._origin, measured_fps=self._measured_fps,
                    open_codec=LibvpxCodec,
                )  # fmt: skip
                self._encoder.want(self._wanted)
            return self._encoder

    def _send(self, packet: Packet, keyframe: bool) -> None:
        pts, data = packet.pts or 0, bytes(packet)
        duration_s = min(max(pts - self._last_pts, 1) / VIDEO_CLOCK, MAX_PICTURE_S)
        self._last_pts = pts
        self._sent.add(self._clock.monotonic(), len(data))
        self.keyframes += keyframe
        self.track.deliver(data, pts, duration_s, keyframe=keyframe)

    def _forward_ask(self) -> None:
        if self._encoder is not None:
            self._encoder.request_keyframe()


def own_copy(frame: av.VideoFrame) -> av.VideoFrame:
    """The same picture in memory of its own, as yuv420p."""
    if frame.format.name != "yuv420p":
        return VideoReformatter().reformat(frame, format="yuv420p")
    return av.VideoFrame.from_ndarray(frame.to_ndarray(), format="yuv420p")
