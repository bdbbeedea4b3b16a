"""What is asked of the encoder, cut down to what the board can do."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from enum import StrEnum

from edge_node.encode_plan import decode, rules
from edge_node.encode_plan.limits import BoardLimits, EncoderLimits

MIN_WIDTH_PX, MIN_HEIGHT_PX = 160, 96
FLUENT_FPS = 15
"""Above this rate fewer pictures hurt less than smaller ones; below it smaller ones hurt less."""
MIN_FPS = 5
# FFmpeg's V4L2 encoder copies pictures line by line as if they were as wide as the firmware's buffer.
COPIED_ALIGN_PX = 64
# CPU per picture in units of x264 ultrafast: 1280x720 at 30/s and 2 Mbit/s on x86-64 took 3.63 ms with ultrafast, 5.20
# with superfast, 8.34 with aiortc's VP8 settings.
PRESET_COST = {"ultrafast": 1.0, "superfast": 1.43}
VP8_COST, DECODE_COST = 2.3, decode.COST["h264"]
VP8_MIN_KBPS = 100
MOST_VIEWERS = 1000


class Source(StrEnum):
    """How pictures come: `camera` from the camera module, which reaches the board's encoder without copies; `raw` from
    anything else; `coded` H.264 that is handed through; `foreign` coded otherwise, to be decoded first.
    """

    CAMERA = "camera"
    RAW = "raw"
    CODED = "coded"
    FOREIGN = "foreign"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the settings ask for."""

    width_px: int
    height_px: int
    fps: int
    max_kbps: int
    source: Source = Source.RAW


@dataclass(frozen=True, slots=True)
class Situation:
    """What the board goes through now.

    `share` of the work that the governor leaves, with its `causes`; `other_mb_per_s` of the software encoder's budget
    is taken by other encodes; `memory_mb` as the kernel counts it.
    """

    viewers: int = 1
    memory_mb: float | None = None
    share: float = 1.0
    causes: tuple[str, ...] = ()
    other_mb_per_s: int = 0


CALM = Situation()


@dataclass(frozen=True, slots=True)
class Plan:
    """What the encoder does. `limited_by` names what the wish was cut by (`encoder, heat`), None when nothing was.

    `encoder`: `libx264`, `v4l2m2m` (the board's, through picamera2), `h264_v4l2m2m` (the same through FFmpeg),
    `libvpx`, `passthrough`. `buffers` are the camera's; `preset` is libx264's.
    """

    width_px: int
    height_px: int
    fps: int
    max_kbps: int
    min_kbps: int
    encoder: str
    level: str
    limited_by: str | None = None
    preset: str = "superfast"
    buffers: int = rules.SAFE_BUFFERS
    profile: str = "constrained baseline"

    @property
    def work_mb_per_s(self) -> int:
        """What it takes of the software encoder's budget, in macroblocks a second at ultrafast."""
        if self.encoder not in ("libx264", "libvpx"):
            return 0
        cost = VP8_COST + DECODE_COST if self.encoder == "libvpx" else PRESET_COST[self.preset]
        return math.ceil(rules.macroblocks(self.width_px, self.height_px) * self.fps * cost)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there can be no picture, as a sentence that says what to do."""

    reason: str


@dataclass(frozen=True, slots=True)
class _Size:
    width_px: int
    height_px: int

    @property
    def macroblocks(self) -> int:
        return rules.macroblocks(self.width_px, self.height_px)

    def aligned(self, limits: EncoderLimits) -> _Size:
        return _Size(*rules.aligned(self.width_px, self.height_px, limits.align_width_px, limits.align_height_px))

    def scaled(self, factor: float) -> _Size:
        return _Size(int(self.width_px * factor), int(self.height_px * factor))


def plan(board: BoardLimits, wish: Wish, now: Situation = CALM) -> Plan | Refusal:
    """The nearest thing to the wish that this board does in real time, in this situation."""
    if min(wish.width_px, wish.height_px, wish.fps, wish.max_kbps) < 1:
        return Refusal("video.width_px, height_px, fps and max_kbps must all be above 0: raise the one that is not")
    if wish.source is Source.CODED:
        return _handed_through(board, wish, now)
    if wish.source is Source.FOREIGN:
        decoding = math.ceil(rules.macroblocks(wish.width_px, wish.height_px) * wish.fps * DECODE_COST)
        if board.software is None or decoding > _budget(board.software, now):
            return Refusal("this board cannot decode that stream in time: set the camera to H.264 without B-frames")
        now = replace(now, other_mb_per_s=now.other_mb_per_s + decoding)
    limits = _encoder(board, wish, now)
    if limits is None:
        return Refusal('this board has no video encoder: use a camera that encodes by itself (video.source = "rtsp")')
    budget = _budget(limits, now)
    if budget < rules.macroblocks(MIN_WIDTH_PX, MIN_HEIGHT_PX) * MIN_FPS:
        return Refusal("this board already encodes all it can: end other viewers that need a codec of their own")
    asked = _Size(wish.width_px, wish.height_px)
    fitting = _within(limits, asked)
    able, able_fps = _real_time(fitting, wish.fps, budget, limits)
    size, fps = _pressed(able, able_fps, now.share, limits)
    if size.width_px < MIN_WIDTH_PX or size.height_px < MIN_HEIGHT_PX:
        return Refusal(
            f"a picture of {size.width_px}x{size.height_px} pixels is too small to be of use: "
            f"set video.width_px and video.height_px to {MIN_WIDTH_PX} and {MIN_HEIGHT_PX} at least"
        )
    kbps, kbps_cuts = _kbps(board, wish, now, limits, size)
    if kbps < limits.min_kbps:
        return _too_many(now.viewers)
    cuts = [
        *(["size"] if fitting != asked else []),
        *(["encoder"] if (able, able_fps) != (fitting, wish.fps) else []),
        *(now.causes if (size, fps) != (able, able_fps) else ()),
        *kbps_cuts,
    ]
    profile = rules.safe_profile(
        "constrained baseline", constant_rate=True, height_px=size.height_px, main_cbr_hangs=board.main_cbr_hangs
    )
    return Plan(
        width_px=size.width_px, height_px=size.height_px, fps=fps, max_kbps=kbps, min_kbps=limits.min_kbps,
        encoder=limits.name, level=rules.h264_level(size.width_px, size.height_px, fps, kbps),
        limited_by=rules.named(cuts), preset=_preset(size.macroblocks * fps, budget), profile=profile,
        buffers=rules.camera_buffers(now.memory_mb, board.buffers),
    )  # fmt: skip


def may_transcode(board: BoardLimits, wish: Wish, running: Plan | None = None, now: Situation = CALM) -> Plan | Refusal:
    """Whether this board can decode its own stream (`wish`: its size and rate) and encode it as VP8 for some viewers.

    `running` is the plan in force beside it. The plan's encoder is `libvpx`; one transcode serves all its viewers.
    """
    if board.software is None:
        return Refusal("this board cannot make VP8: use a viewer that takes H.264")
    vp8 = replace(board.software, name="libvpx", min_kbps=max(VP8_MIN_KBPS, board.software.min_kbps))
    spent = replace(now, other_mb_per_s=now.other_mb_per_s + (running.work_mb_per_s if running is not None else 0))
    budget = int(_budget(vp8, spent) * now.share / (VP8_COST + DECODE_COST))
    fitting = _within(vp8, _Size(wish.width_px, wish.height_px))
    if budget < rules.macroblocks(MIN_WIDTH_PX, MIN_HEIGHT_PX) * MIN_FPS:
        return Refusal("this board has no time left to make VP8: use a viewer that takes H.264, or lower video.fps")
    size, fps = _real_time(fitting, wish.fps, budget, vp8)
    if size.width_px < MIN_WIDTH_PX or size.height_px < MIN_HEIGHT_PX:
        return Refusal("this board has no time left to make VP8: use a viewer that takes H.264, or lower video.fps")
    kbps = min(max(wish.max_kbps, vp8.min_kbps), vp8.max_kbps)
    cut = "encoder" if (size, fps) != (_Size(wish.width_px, wish.height_px), wish.fps) else None
    level = rules.h264_level(size.width_px, size.height_px, fps, kbps)
    return Plan(size.width_px, size.height_px, fps, kbps, vp8.min_kbps, vp8.name, level, cut)


def fit(width_px: int, height_px: int, chosen: Plan) -> tuple[int, int]:
    """The size to encode a picture of this size at: never larger than it or the plan, whole steps, same shape."""
    factor = min(1.0, chosen.width_px / width_px, chosen.height_px / height_px)
    width_step, height_step = (COPIED_ALIGN_PX, 16) if chosen.encoder == "h264_v4l2m2m" else (2, 2)
    size = rules.aligned(int(width_px * factor), int(height_px * factor), width_step, height_step)
    return max(width_step, size[0]), max(height_step, size[1])


def _encoder(board: BoardLimits, wish: Wish, now: Situation) -> EncoderLimits | None:
    """The camera module's pictures go to the board's encoder; others do when the processor cannot keep up with them."""
    hardware, software = board.hardware, board.software
    if hardware is None or wish.source is Source.CAMERA:
        return hardware or software
    if software is not None:
        fitting = _within(software, _Size(wish.width_px, wish.height_px))
        if fitting.macroblocks * wish.fps <= _budget(software, now):
            return software
    return replace(hardware, name="h264_v4l2m2m", align_width_px=COPIED_ALIGN_PX, align_height_px=16)


def most_viewers(board: BoardLimits, wish: Wish, now: Situation = CALM) -> int:
    """How many viewers plan() refuses nobody of, at most MOST_VIEWERS; 0 when it refuses the first one."""
    counts = range(1, MOST_VIEWERS + 1)
    return bisect_left(counts, True, key=lambda n: isinstance(plan(board, wish, replace(now, viewers=n)), Refusal))


def _handed_through(board: BoardLimits, wish: Wish, now: Situation) -> Plan | Refusal:
    sendable = min(wish.max_kbps, board.sending_kbps // max(1, now.viewers))
    least = max(1, wish.max_kbps // 4)
    if sendable < least:  # thinned any further it is no moving picture
        return _too_many(now.viewers)
    kbps = sendable if now.share >= 1 else max(least, int(sendable * now.share))
    level = rules.h264_level(wish.width_px, wish.height_px, wish.fps, wish.max_kbps)
    cuts = [*(["viewers"] if sendable < wish.max_kbps else []), *(now.causes if kbps < sendable else ())]
    return Plan(wish.width_px, wish.height_px, wish.fps, kbps, 1, "passthrough", level, rules.named(cuts))


def _too_many(viewers: int) -> Refusal:
    return Refusal(f"this board cannot send to {viewers} viewers at a time: let fewer watch, or lower video.max_kbps")


def _budget(limits: EncoderLimits, now: Situation) -> int:
    """Macroblocks a second left for one more stream."""
    if limits.name in ("v4l2m2m", "h264_v4l2m2m"):
        return limits.max_mb_per_s
    return min(limits.max_mb_per_s, limits.max_mb_per_s * limits.parallel - now.other_mb_per_s)


def _kbps(board: BoardLimits, wish: Wish, now: Situation, limits: EncoderLimits, size: _Size) -> tuple[int, list[str]]:
    kbps = min(max(wish.max_kbps, limits.min_kbps), limits.max_kbps)
    if limits.name != "libx264":
        kbps = rules.hardware_kbps(kbps, size.width_px, size.height_px, limits.min_kbps)
    cuts = ["bitrate"] if kbps != wish.max_kbps else []
    sendable = board.sending_kbps // max(1, now.viewers)
    return (sendable, [*cuts, "viewers"]) if sendable < kbps else (kbps, cuts)


def _within(limits: EncoderLimits, size: _Size) -> _Size:
    width_px = limits.max_width_px
    if limits.name in ("v4l2m2m", "h264_v4l2m2m"):
        width_px = rules.hardware_width_px(width_px)
    factor = min(1.0, width_px / size.width_px, limits.max_height_px / size.height_px)
    return size.scaled(factor).aligned(limits)


def _real_time(size: _Size, fps: int, budget: int, limits: EncoderLimits) -> tuple[_Size, int]:
    """Fewer pictures down to FLUENT_FPS, then smaller ones; `budget` in macroblocks per second."""
    fps_now = budget // max(1, size.macroblocks)
    wanted = min(fps, FLUENT_FPS)
    if fps_now >= wanted:
        return size, min(fps, fps_now)
    factor = math.sqrt(budget / (size.macroblocks * wanted))
    smaller = size.scaled(factor).aligned(limits)
    while smaller.macroblocks * wanted > budget:  # partly filled macroblocks count as whole ones
        factor *= 0.99
        smaller = size.scaled(factor).aligned(limits)
    return smaller, wanted


def _pressed(size: _Size, fps: int, share: float, limits: EncoderLimits) -> tuple[_Size, int]:
    """The governor's share of that; the camera module takes another rate while it runs, another size it does not."""
    if share >= 1:
        return size, fps
    if limits.name == "v4l2m2m":
        return size, min(fps, max(MIN_FPS, int(fps * share)))
    smallest = rules.macroblocks(MIN_WIDTH_PX, MIN_HEIGHT_PX) * min(fps, FLUENT_FPS)
    pressed, pressed_fps = _real_time(size, fps, max(smallest, int(size.macroblocks * fps * share)), limits)
    too_small = pressed.width_px < MIN_WIDTH_PX or pressed.height_px < MIN_HEIGHT_PX
    return (size, min(fps, MIN_FPS)) if too_small else (pressed, pressed_fps)


def _preset(mb_per_s: int, budget: int) -> str:
    """superfast looks like x264's own default at a fifth of its cost; ultrafast is for those who cannot afford it."""
    return "superfast" if mb_per_s * PRESET_COST["superfast"] <= budget else "ultrafast"
