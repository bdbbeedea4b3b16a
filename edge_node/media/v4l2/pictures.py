"""What lies in a camera's buffers, as a sink takes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import av
import numpy as np

from edge_node.media import h264
from edge_node.media.packet_queue import GOP_CACHE_S
from edge_node.media.v4l2.offers import H264, JPEG, RAW
from edge_node.ports import VIDEO_CLOCK, AccessUnit, VideoSink

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

    from edge_node.media.v4l2.capture import Filled, Layout

END_OF_JPEG = b"\xff\xd9"


class SeldomKeyframes(Exception):
    """Who comes later would see nothing for longer than a group of pictures is remembered."""


class Pictures:
    """Gives `sink` one picture per buffer; what is truncated or cannot be decoded is counted in `broken`.

    Raw pictures are copied once, out of the driver's buffer; coded ones, too. take() raises SeldomKeyframes when H.264
    has had none for seldom_s.
    """

    def __init__(self, layout: Layout, sink: VideoSink, seldom_s: float = GOP_CACHE_S) -> None:
        self._layout = layout
        self._sink = sink
        self._seldom_s = seldom_s
        self._keyframe_at: float | None = None
        self._decoder: VideoCodecContext | None = jpeg_decoder() if layout.fourcc in JPEG else None
        self._jpegs_end = False
        self._sets: dict[int, bytes] = {}
        self._whole_since_keyframe = False
        self.broken = 0

    @property
    def decodes(self) -> bool:
        """Whether a decoder is open."""
        return self._decoder is not None

    def take(self, filled: Filled, captured_at: float) -> None:
        """The next buffer, seen at captured_at (Clock.monotonic() seconds)."""
        if self._layout.fourcc == H264:
            self._hand_through(filled, captured_at)
            return
        frame = self._decoded(filled) if self._decoder is not None else self._copied(filled)
        if frame is None:
            self.broken += 1
        else:
            self._sink.picture(frame, captured_at)

    def gap(self) -> None:
        """A picture is missing: of H.264 those up to the next keyframe refer to it."""
        self._whole_since_keyframe = False

    def _hand_through(self, filled: Filled, captured_at: float) -> None:
        data = filled.memory[: filled.size]
        keyframe = h264.has_idr(data)
        self._sets.update(found := h264.parameter_sets(data))
        if keyframe and len(found) < 2:  # some cameras send them once
            data = b"".join(h264.START + nal for _, nal in sorted(self._sets.items())) + data
        if keyframe or self._keyframe_at is None:
            self._keyframe_at = captured_at
        elif captured_at - self._keyframe_at > self._seldom_s:
            raise SeldomKeyframes
        self._whole_since_keyframe = keyframe or self._whole_since_keyframe
        if self._whole_since_keyframe:
            self._sink.unit(AccessUnit(data, keyframe, round(captured_at * VIDEO_CLOCK), captured_at))

    def _decoded(self, filled: Filled) -> av.VideoFrame | None:
        assert self._decoder is not None
        ends = filled.memory.rfind(END_OF_JPEG, 0, filled.size) >= 0
        self._jpegs_end = self._jpegs_end or ends  # cheap cameras leave it out always; of others it is half a picture
        if self._jpegs_end and not ends:
            return None
        packet = av.Packet(filled.size)
        with memoryview(filled.memory) as memory, memory[: filled.size] as data:
            packet.update(cast("bytes", data))  # any buffer will do
        try:
            frames = self._decoder.decode(packet)
        except (av.FFmpegError, ValueError):
            return None
        return frames[-1] if frames else None

    def _copied(self, filled: Filled) -> av.VideoFrame | None:
        layout = self._layout
        name = RAW[layout.fourcc]
        frame = av.VideoFrame(layout.width_px, layout.height_px, name)
        at = 0
        for number, plane in enumerate(frame.planes):
            half = name == "yuv420p" and number > 0
            line_bytes = layout.line_bytes // 2 if half else layout.line_bytes
            height = -(-layout.height_px // 2) if number else layout.height_px
            size = line_bytes * height
            if at + size > filled.size:
                return None
            lines = np.frombuffer(filled.memory, np.uint8, size, at).reshape(height, line_bytes)
            into = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height]
            wide = min(line_bytes, plane.line_size)
            into[:, :wide] = lines[:, :wide]
            at += size
        return frame


def jpeg_decoder() -> VideoCodecContext:
    """One thread: each further one holds a picture back."""
    decoder = av.CodecContext.create("mjpeg", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    decoder.thread_count = 1
    return decoder
