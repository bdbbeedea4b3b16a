"""What is told of the published pictures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

STALLED_AFTER_S = 3.0


class VideoState(StrEnum):
    """`off`: not published now; `starting`: no picture yet; `stalled`: none for STALLED_AFTER_S, or no encoder."""

    OFF = "off"
    STARTING = "starting"
    LIVE = "live"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class VideoStats:
    """The `video` object of the telemetry sample, with two more counts.

    `fps` and `kbps` are of the last two seconds: of the coded stream while it flows, else of the source's pictures.
    `encodes` counts pictures encoded here, `decodes` the decoders that were opened. `limited_by` says `transcode` while
    the source's coded pictures have to be decoded and encoded again, `viewers` while some are refused, `VP8` while that
    cannot be made, `bitrate` while pictures are left out of a camera's stream that is above the plan. `warning` says
    in one sentence what to change at the camera.
    """

    state: VideoState
    source: str
    encoder: str | None
    width_px: int | None
    height_px: int | None
    fps: float
    kbps: float
    viewers: int
    keyframes: int
    dropped_frames: int
    limited_by: str | None
    warning: str | None
    encodes: int
    decodes: int
