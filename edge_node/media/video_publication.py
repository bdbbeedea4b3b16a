"""Whatever a source gives, as one coded track."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import av

from edge_node.encode_plan.governor import Work
from edge_node.encode_plan.meter import RateMeter
from edge_node.encode_plan.plan import Plan, Refusal, Source, fit
from edge_node.media import h264
from edge_node.media.encoders.codec import OpenCodec
from edge_node.media.keyframe_asks import KeyframeAsks
from edge_node.media.seats import Seats
from edge_node.media.transcode import Judge, Transcode
from edge_node.media.unit_timeline import UnitTimeline
from edge_node.media.video_encoder import VideoEncoder
from edge_node.media.video_stats import STALLED_AFTER_S, VideoState, VideoStats
from edge_node.media.views import FanoutTrack
from edge_node.media.vp8_branch import Vp8Branch
from edge_node.ports import VIDEO_CLOCK, AccessUnit, Clock, Decodes, Replanned, VideoSource, Warns

if TYPE_CHECKING:
    from edge_node.media.packet_queue import Packet

# A picture after a gap does not fill its queue: whatever the rate, a view's queue takes at least five pictures.
MAX_PICTURE_S = 0.1


class VideoPublication:
    """A VideoSink that owns the encoder and `track`.

    With `vp8_plan` the track may be had as VP8 too, one for all viewers that take nothing else. `judge` says whether
    this board can decode what browsers cannot be given as it is. `decorate` gives a copy of a raw picture as it is to
    be encoded.

    Made on the event loop; picture() and unit() may come from any thread, as may request_keyframe() and set_bitrate()
    (the Demand of all viewers together); the rest is called on the loop. A source may stop and another run() begin at
    any time: views stay open and go on with the next keyframe.
    """

    def __init__(
        self,
        plan: Plan,
        clock: Clock,
        source: VideoSource | None = None,
        *,
        open_codec: OpenCodec | None = None,
        vp8_plan: Plan | None = None,
        judge: Judge = lambda codec, width_px, height_px: None,
        decorate: Callable[[av.VideoFrame], av.VideoFrame] | None = None,
    ) -> None:
        self.source = source
        self._seats = Seats()
        self.track = FanoutTrack(
            "video", "video/H264", demand=self, on_viewers_changed=self._viewers_changed, seats=self._seats
        )
        self._plan = plan
        self._clock = clock
        self._origin = clock.monotonic()
        self._open_codec = open_codec
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._lock = threading.Lock()
        self._encoder: VideoEncoder | None = None
        self._timeline = UnitTimeline(self._origin)
        self._asks = KeyframeAsks(clock, self._forward_ask)
        self.track.on_keyframe = self._asks.served
        self._transcode = Transcode(self._raw, judge, clock.monotonic)
        self._decorate = decorate
        self._transcoding = False
        self._active = True
        self._wanted = False
        self._coded = False
        self._last_pts = 0
        self._size: tuple[int, int] | None = None
        self._sps: bytes | None = None
        self._last_picture_at: float | None = None
        self._arrived = RateMeter()
        self._sent = RateMeter()
        self._keyframes = 0
        self._name_level()
        self._vp8: Vp8Branch | None = None
        if vp8_plan is not None:
            self._vp8 = Vp8Branch(
                self.track, vp8_plan, clock, origin=self._origin, measured_fps=self._measured_fps,
                on_change=self._update_wanted, seats=self._seats,
            )  # fmt: skip
            self.track.alternatives = (self._vp8.track,)

    # VideoSink

    def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
        """A raw picture: encoded when somebody watches, forgotten otherwise."""
        self._arrive(coded=False)
        self._raw(frame, captured_at)

    def unit(self, unit: AccessUnit) -> None:
        """A coded picture: goes to the viewers untouched, or is decoded first if it has to be.

        Raises SourceLost, with the reason, when this board cannot decode it.
        """
        if unit.decode_as is not None:
            self._arrive(coded=False, transcoding=True)
            self._transcode.unit(unit)
            return
        self._arrive(coded=True)
        if unit.keyframe:
            self._read_size(unit.data)
        self._send(unit.data, self._timeline.place(unit.timestamp, unit.captured_at), unit.keyframe)

    # Demand of all viewers together

    def request_keyframe(self) -> None:
        """Merged: at most one in KEYFRAME_WINDOW_S, none forgotten."""
        self._asks.ask()

    def set_bitrate(self, kbps: int) -> None:
        """The narrowest path to a viewer carries about this much."""
        if self._coded:
            if self.source is not None and self.source.demand is not None:
                self.source.demand.set_bitrate(kbps)
        elif self._encoder is not None:
            self._encoder.set_bitrate(kbps)

    # For the node

    def set_active(self, active: bool) -> None:
        """Whether anything flows (`publish = call` outside a call: nothing); it goes on with a keyframe."""
        if active == self._active:
            return
        self._active = active
        if active:
            self._update_wanted()
            self.track.resume()
        else:
            self._asks.cancel()
            self.track.pause()
            self._update_wanted()
        if self._vp8 is not None:
            self._vp8.set_active(active)

    def set_plan(self, plan: Plan) -> None:
        """Another plan, for instance because the board is hot."""
        if plan != self._plan:
            self._plan = plan
            self._name_level()
            self.track.set_ceiling(plan.max_kbps if plan.encoder == "passthrough" else None)
            if self._encoder is not None:
                self._encoder.set_plan(plan)
        if isinstance(self.source, Replanned):  # also when nothing changed: it may have begun anew
            self.source.set_plan(plan)

    def set_most_viewers(self, most: int | None, reason: str) -> None:
        """Who comes beyond so many gets no pictures until somebody leaves; `reason` is told as a sentence."""
        self._seats.set_most(most, reason)

    def set_vp8_plan(self, plan: Plan | Refusal) -> None:
        """Another plan for the VP8 of viewers without H.264; a refusal: they get nothing."""
        if self._vp8 is None:
            return
        if isinstance(plan, Refusal):
            self._seats.close(self._vp8.track.mime_type, plan.reason)
            return
        if plan != self._vp8.plan:
            self._vp8.set_plan(plan)
        self._seats.open(self._vp8.track.mime_type)

    def work(self) -> Work:
        """What is known of the engine to whoever plans for it."""
        encoder, vp8 = self._encoder, self._vp8
        return Work(
            self._source_kind(),
            self._seats.taken,
            offered=0 if encoder is None else encoder.encoded + encoder.dropped,
            late=0 if encoder is None else encoder.late,
            software_instead=encoder is not None and encoder.software_instead,
            vp8_offered=0 if vp8 is None else vp8.offered,
            vp8_late=0 if vp8 is None else vp8.late,
            stream_kbps=self._sent.kbps(self._clock.monotonic()) if self._coded else 0.0,
            stream_px=self._size if self._coded else None,
        )

    def stats(self) -> VideoStats:
        """A snapshot for telemetry."""
        now = self._clock.monotonic()
        flows = self._active and (self._coded or self._wanted)
        width, height = self._picture_size()
        encoder, vp8 = self._encoder, self._vp8
        return VideoStats(
            state=self._state(now),
            source=self.source.label if self.source is not None else "none",
            encoder=self._encoder_name(),
            width_px=width,
            height_px=height,
            fps=round((self._sent if flows else self._arrived).per_second(now), 1),
            kbps=round((self._sent.kbps(now) if flows else 0.0) + (vp8.kbps(now) if vp8 is not None else 0.0), 1),
            viewers=self._viewers(),
            keyframes=self._keyframes + (vp8.keyframes if vp8 is not None else 0),
            dropped_frames=sum(
                part.dropped for part in (self.track, encoder, vp8, self._transcode) if part is not None
            ),
            limited_by=self._limited_by(),
            warning=self.source.warning if isinstance(self.source, Warns) else None,
            encodes=(encoder.encoded if encoder is not None else 0) + (vp8.encodes if vp8 is not None else 0),
            decodes=self._decodes(),
        )

    @property
    def fault(self) -> str | None:
        """What is wrong with the encoder, as a sentence; None while all is well."""
        faults = (part.fault for part in (self._encoder, self._vp8) if part is not None)
        return next((fault for fault in faults if fault is not None), None)

    async def close(self) -> None:
        """Ends all views and the encoder's thread."""
        self._active = False
        self._update_wanted()
        self._asks.cancel()
        if self._vp8 is not None:
            await self._vp8.close()
        self.track.close()
        await asyncio.to_thread(self._transcode.close)
        with self._lock:
            encoder = self._encoder
        if encoder is not None:
            await asyncio.to_thread(encoder.close)

    # Pictures, in the source's or the encoder's thread

    def _arrive(self, *, coded: bool, transcoding: bool = False) -> None:
        now = self._clock.monotonic()
        self._transcoding = transcoding
        if self._last_picture_at is None or coded != self._coded:
            self._coded, self._sps = coded, None
            self._name_level()
            self.track.keep_group(coded and (self.source is None or self.source.demand is None))
            self._on_loop(self._kind_changed)
        self._last_picture_at = now
        self._arrived.add(now)

    def _kind_changed(self) -> None:
        if self._vp8 is not None:
            self._vp8.set_coded(self._coded)

    def _raw(self, frame: av.VideoFrame, captured_at: float) -> None:
        self._size = (frame.width, frame.height)
        if self._decorate is not None and self._active and self._viewers() > 0:
            frame = self._decorate(frame)
        if self._vp8 is not None:
            self._vp8.picture(frame, captured_at)
        if self._wanted:
            self._the_encoder().offer(frame, captured_at)

    def _the_encoder(self) -> VideoEncoder:
        with self._lock:
            if self._encoder is None:
                self._encoder = VideoEncoder(
                    self._plan, self._clock, self._encoded, origin=self._origin, measured_fps=self._measured_fps,
                    open_codec=self._open_codec,
                )  # fmt: skip
                self._encoder.want(self._wanted)
            return self._encoder

    def _measured_fps(self) -> float:
        now = self._clock.monotonic()
        return self._arrived.per_second(now) if self._arrived.settled(now) else 0.0

    def _encoded(self, packet: Packet, keyframe: bool) -> None:
        self._send(bytes(packet), packet.pts or 0, keyframe)

    def _send(self, data: bytes, pts: int, keyframe: bool) -> None:
        duration_s = min(max(pts - self._last_pts, 1) / VIDEO_CLOCK, MAX_PICTURE_S)
        self._last_pts = pts
        if self._active:
            self._sent.add(self._clock.monotonic(), len(data))
            self._keyframes += keyframe
        self.track.deliver(data, pts, duration_s, keyframe=keyframe)

    def _name_level(self) -> None:
        if not self._coded:  # the stream says its own
            self.track.level_idc = int(self._plan.level.replace(".", ""))

    def _read_size(self, data: bytes) -> None:
        sps = h264.parameter_sets(data).get(h264.NAL_SPS)
        if sps is not None and sps != self._sps:
            self._sps = sps
            sequence = h264.parse_sps(sps)
            self._size = None if sequence is None else (sequence.width_px, sequence.height_px)
            self.track.level_idc = 0 if sequence is None else sequence.level_idc

    # Demand, on the loop

    def _on_loop(self, call: Callable[[], None]) -> None:
        if threading.get_ident() == self._loop_thread:
            call()
            return
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:  # the loop is closed: nobody is left to watch
            return

    def _forward_ask(self) -> None:
        if not self._active:
            return
        if self._coded:
            if self.source is not None and self.source.demand is not None:
                self.source.demand.request_keyframe()
        elif self._encoder is not None:
            self._encoder.request_keyframe()

    def _viewers_changed(self, _viewers: int) -> None:
        self._update_wanted()

    def _update_wanted(self) -> None:
        with self._lock:
            self._wanted = self._active and self.track.viewers > 0
            if self._encoder is not None:
                self._encoder.want(self._wanted)
        self._transcode.want(self._active and self._viewers() > 0)

    def _viewers(self) -> int:
        """Everybody who watches; the VP8 branch is no viewer of its own."""
        vp8 = self._vp8
        return self.track.viewers + (vp8.viewers - vp8.own_views if vp8 is not None else 0)

    # Stats

    def _state(self, now: float) -> VideoState:
        if not self._active or self.source is None:
            return VideoState.OFF
        if self._last_picture_at is None:
            return VideoState.STARTING
        if now - self._last_picture_at > STALLED_AFTER_S or self.fault is not None:
            return VideoState.STALLED
        return VideoState.LIVE

    def _encoder_name(self) -> str | None:
        if self._last_picture_at is None:
            return None
        if not self._coded:
            encoder = self._encoder
            name = encoder.name if encoder is not None else "libx264"
            if self._vp8 is not None and self._vp8.viewers and not self._wanted:
                return "libvpx"
        else:
            by_board = self.source is not None and self.source.label == "camera"
            name = "v4l2m2m" if by_board else "passthrough"
        return f"{name}, libvpx" if self._vp8 is not None and self._vp8.viewers else name

    def _decodes(self) -> int:
        by_source = self.source.decoders_opened if isinstance(self.source, Decodes) else 0
        by_vp8 = self._vp8.decoders_opened if self._vp8 is not None else 0
        return by_source + self._transcode.decoders_opened + by_vp8

    def _source_kind(self) -> Source | None:
        label = self.source.label if self.source is not None else "none"
        if label == "camera":
            return Source.CAMERA
        if self._last_picture_at is None:
            return None
        if self._coded:
            return Source.CODED
        return Source.FOREIGN if label in ("rtsp", "file") else Source.RAW

    def _picture_size(self) -> tuple[int, int] | tuple[None, None]:
        if self._size is None:
            return None, None
        return self._size if self._coded else fit(*self._size, self._plan)

    def _limited_by(self) -> str | None:
        encoder = self._encoder if self._wanted and not self._coded else None
        by_path = encoder is not None and encoder.limited_by_path(self._sent.kbps(self._clock.monotonic()))
        thinned = self._coded and self.track.thinned
        failed = self._encoder is not None and self._encoder.software_instead
        by_plan = (self._plan.limited_by or "").split(", ")
        named = {
            "path": by_path or thinned,
            "encoder failed": failed,
            "transcode": self._transcoding,
            "viewers": self._seats.waiting > 0,
            "VP8": self._vp8 is not None and self._seats.closed(self._vp8.track.mime_type),
            "bitrate": self._plan.limited_by is None and not self.track.below_ceiling,
        }
        causes = (*by_plan, *(cause for cause, holds in named.items() if holds))
        return ", ".join(dict.fromkeys(filter(None, causes))) or None
