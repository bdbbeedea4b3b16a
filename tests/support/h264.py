"""Small H.264 films, made while the tests run."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.video.frame import PictureType

from edge_node.media.luma_stamp import Stamp, read_stamp
from edge_node.media.pattern import PatternPainter, clock_text
from edge_node.ports import VIDEO_CLOCK, AccessUnit

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

BASELINE = {"preset": "superfast", "tune": "zerolatency", "profile": "baseline", "forced-idr": "1"}
WITH_B_FRAMES = {"preset": "superfast", "profile": "main", "bf": "2"}


def painted(count: int, width_px: int = 320, height_px: int = 240, fps: int = 30) -> list[av.VideoFrame]:
    """Test pictures whose luma says their index and their time in milliseconds (edge_node.media.luma_stamp)."""
    painter = PatternPainter(width_px, height_px)
    frames = []
    for index in range(count):
        seconds = index / fps
        frame = painter.paint(clock_text(seconds), Stamp(index, round(seconds * 1000)), seconds)
        frame.pts, frame.time_base = index, Fraction(1, fps)
        frames.append(frame)
    return frames


def make_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    width_px: int = 320,
    height_px: int = 240,
    fps: int = 30,
    gop_s: float = 1.0,
    kbps: int = 300,
    options: dict[str, str] | None = None,
    codec: str = "libx264",
) -> Path:
    """Writes a film; the path's ending chooses the container (.mp4, .mkv, .h264). Default: constrained baseline.

    Keyframes come every `gop_s` seconds, with SPS and PPS in the stream of a .h264 file.
    """
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.width, stream.height, stream.pix_fmt = width_px, height_px, "yuv420p"
        stream.bit_rate = kbps * 1000
        stream.codec_context.gop_size = max(1, round(gop_s * fps))
        if codec == "libx264":
            stream.options = {**(BASELINE if options is None else options), "sc_threshold": "0"}
        for frame in painted(round(seconds * fps), width_px, height_px, fps):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_units(
    count: int = 60, *, width_px: int = 320, height_px: int = 240, fps: int = 30, gop: int = 30, kbps: int = 300
) -> list[AccessUnit]:
    """The same as coded pictures in memory; `captured_at` counts from 0."""
    encoder: VideoCodecContext = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width_px, height_px, "yuv420p"
    encoder.time_base, encoder.framerate = Fraction(1, fps), Fraction(fps)
    encoder.bit_rate, encoder.gop_size, encoder.options = kbps * 1000, 9999, BASELINE
    units = []
    for index, frame in enumerate(painted(count, width_px, height_px, fps)):
        frame.pict_type = PictureType.I if index % gop == 0 else PictureType.NONE
        for packet in encoder.encode(frame):
            units.append(AccessUnit(bytes(packet), packet.is_keyframe, index * VIDEO_CLOCK // fps, index / fps))
    return units


def decoded(packets: Sequence[av.Packet[Any]]) -> list[av.VideoFrame]:
    """Decodes packets as a viewer would, from the first one on; raises av.FFmpegError for a damaged stream."""
    decoder: VideoCodecContext = av.CodecContext.create("h264", "r")
    decoder.options = {"err_detect": "explode"}
    decoder.thread_count = 1
    decoder.flags |= av.codec.context.Flags.low_delay
    frames: list[av.VideoFrame] = []
    for packet in packets:
        frames += decoder.decode(packet)
    return frames + decoder.decode(None)


def stamps(frames: Sequence[av.VideoFrame]) -> list[Stamp | None]:
    """What the pictures say about themselves."""
    return [read_stamp(np.asarray(frame.to_ndarray(format="gray"), dtype=np.uint8)) for frame in frames]
