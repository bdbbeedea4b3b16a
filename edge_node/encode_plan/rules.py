"""The twelve rules that people learned the hard way about video encoders on small boards, each a function."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

# ITU-T H.264 table A-1, in macroblocks of a picture, and in macroblocks a second.
LEVEL_3_1_MACROBLOCKS, LEVEL_3_1_MB_PER_S = 3_600, 108_000
LEVEL_4_MACROBLOCKS, LEVEL_4_MB_PER_S = 8_192, 245_760
LEVEL_4_2_MB_PER_S = 522_240
# picamera2 names level 4.1 above this rate.
LEVEL_4_0_KBPS = 10_000

HARDWARE_MAX_WIDTH_PX = 2032
HARDWARE_MAX_KBPS = 20_000
HARDWARE_FLOOR_KBPS = 1_000
FULL_HD = (1920, 1080)

NUMERIC_PROFILES = {"baseline": "0", "constrained baseline": "1", "main": "2", "high": "4"}
"""V4L2_CID_MPEG_VIDEO_H264_PROFILE of linux/v4l2-controls.h."""

VBV_KBIT = 300
SMALL_MEMORY_MB = 1_100  # a board of 1 GB reports a little less, of which the firmware took some
FEW_BUFFERS, SAFE_BUFFERS = 2, 5


def macroblocks(width_px: int, height_px: int) -> int:
    """Macroblocks of one picture: partly filled ones count as whole ones."""
    return math.ceil(width_px / 16) * math.ceil(height_px / 16)


def h264_level(width_px: int, height_px: int, fps: int, kbps: int) -> str:
    """Rule 1: the lowest H.264 level that holds this stream, from `3.1`, the one WebRTC names by default.

    Sources: picamera2 h264_encoder.py, raspberrypi/linux#3467.
    """
    size = macroblocks(width_px, height_px)
    rate = size * fps
    if size <= LEVEL_3_1_MACROBLOCKS and rate <= LEVEL_3_1_MB_PER_S and kbps <= LEVEL_4_0_KBPS:
        return "3.1"
    if size <= LEVEL_4_MACROBLOCKS and rate <= LEVEL_4_MB_PER_S:
        return "4.0" if kbps <= LEVEL_4_0_KBPS else "4.1"
    return "4.2"


def hardware_width_px(width_px: int) -> int:
    """Rule 2: the firmware of BCM2835-class encoders gives garbage beyond 2032 pixels (raspberrypi/linux#5084)."""
    return min(width_px, HARDWARE_MAX_WIDTH_PX)


def hardware_kbps(kbps: int, width_px: int, height_px: int, floor_kbps: int = 0) -> int:
    """Rule 3: 25 Mbit/s fails where 20 works (raspberrypi/linux#4938); odd sizes need a floor.

    An 820x616 picture at 500 kbit/s killed the encoder of a Zero 2 W until a reboot (mediamtx#5381): sizes that are no
    whole macroblocks get at least HARDWARE_FLOOR_KBPS, others at least the board's own `floor_kbps`.
    """
    odd = bool(width_px % 16 or height_px % 16) and (width_px, height_px) != FULL_HD
    return min(max(kbps, floor_kbps, HARDWARE_FLOOR_KBPS if odd else 0), HARDWARE_MAX_KBPS)


def safe_profile(profile: str, *, constant_rate: bool, height_px: int, main_cbr_hangs: bool) -> str:
    """Rule 4: main profile at a constant rate hangs the codec of a Zero 2 W at 1080 lines (raspberrypi/linux#5360)."""
    risky = main_cbr_hangs and constant_rate and height_px >= FULL_HD[1] - 8
    return "constrained baseline" if risky and "baseline" not in profile else profile


def aligned(width_px: int, height_px: int, align_width_px: int, align_height_px: int) -> tuple[int, int]:
    """Rule 5: sizes are cut to whole steps, because 1296x972 comes out corrupt (raspberrypi/firmware#1608).

    1920x1080 alone may keep its height where the width fits: encoders crop the 8 lines in the SPS, and every camera
    program of the Pi uses it; through FFmpeg's memory copies it may not (the step of the width is 64 there).
    """
    if (width_px, height_px) == FULL_HD and align_width_px < 64:
        return FULL_HD
    return width_px // align_width_px * align_width_px, height_px // align_height_px * align_height_px


def repeats_parameter_sets(encoder: str) -> bool:
    """Rule 6: whether an encoder puts SPS and PPS before every keyframe; if not, we do (bookworm-feedback#285)."""
    return encoder != "h264_v4l2m2m"


def profile_option(encoder: str, profile: str) -> str:
    """Rule 7: how this encoder wants its profile named: V4L2 knows numbers only (home-assistant.io#26953)."""
    if encoder == "h264_v4l2m2m":
        return NUMERIC_PROFILES[profile]
    return profile.removeprefix("constrained ") if encoder == "libx264" else profile


def camera_buffers(memory_mb: float | None, at_most: int = SAFE_BUFFERS) -> int:
    """Rule 8: picamera2's own 6 buffers end in ENOMEM; 2 where memory is 1 GB or less (picamera2#972, #1358)."""
    if memory_mb is not None and memory_mb <= SMALL_MEMORY_MB:
        return min(FEW_BUFFERS, at_most)
    return min(SAFE_BUFFERS, at_most)


def supply_advice(throttled: Collection[str] | None) -> str | None:
    """Rule 9: what to do about a weak supply, which shows up as "operation not permitted" (raspberrypi/linux#3467).

    `throttled` names what the firmware reports (host.probes); None when the supply never was at fault.
    """
    if not any("under_voltage" in name for name in throttled or ()):
        return None
    return "use the board's own power supply and a short cable: the firmware has seen too little voltage"


def low_latency_options(encoder: str) -> Mapping[str, str]:
    """Rule 10: without these FFmpeg's encoders hold back 600-850 ms (rpicam-apps#740): frame threads and B-frames."""
    if encoder == "libx264":
        return {"tune": "zerolatency", "threads": "1", "bf": "0"}
    return {"bf": "0", "num_capture_buffers": "4"} if encoder == "h264_v4l2m2m" else {}


def receive_buffer_bytes(kbps: int) -> int:
    """Rule 11: what a media socket needs: the default overflowed on a Pi 4 (bvis/fermax-blue-hass#80).

    A quarter of a second of the stream, twice because the kernel counts its own bookkeeping (socket(7)), and never
    less than Linux' usual default.
    """
    return max(212_992, 2 * kbps * 1000 // 8 // 4)


def wifi_at_risk(temp_c: float | None, wifi_limit_c: float | None, on_wifi: bool) -> bool:
    """Rule 12: some boards' Wi-Fi chip drops out before the processor throttles (monkeymademe/CamUI#93)."""
    return on_wifi and temp_c is not None and wifi_limit_c is not None and temp_c >= wifi_limit_c


def vbv_kbit(ceiling_kbps: int) -> int:
    """The rate control's buffer: 150 ms at 2 Mbit/s keeps keyframes at 30 kB and lets the rate follow in 0.5 s."""
    return max(VBV_KBIT, ceiling_kbps // 10)


def named(causes: Sequence[str]) -> str | None:
    """Causes as `limited_by` tells them: each once, in order; None when there are none."""
    return ", ".join(dict.fromkeys(causes)) or None
