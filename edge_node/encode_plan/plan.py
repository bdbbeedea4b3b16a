"""What is asked of the encoder, cut down to what the board can do."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge_node.encode_plan.limits import LEVEL_4_MB_PER_S, BoardLimits, EncoderLimits

MIN_WIDTH_PX, MIN_HEIGHT_PX = 160, 96
FLUENT_FPS = 15
"""Above this rate fewer pictures hurt less than smaller ones; below it smaller ones hurt less."""
# A hot board gets half the work: the firmware of a Pi throttles its clocks by about that much at 80-85 °C.
HEAT_SHARE = 0.5
# ITU-T H.264 table A-1: level 3.1 (the one WebRTC names by default, 42e01f) ends at 720p30.
LEVEL_3_1_MACROBLOCKS, LEVEL_3_1_MB_PER_S = 3_600, 108_000
# picamera2 names level 4.1 above this rate.
LEVEL_4_0_KBPS = 10_000


@dataclass(frozen=True, slots=True)
class Wish:
    """What the settings ask for.

    `hot` while the board throttles itself or is about to; `hardware` when the source reaches the board's own encoder
    (the camera module does; files, USB cameras, test pictures do not).
    """

    width_px: int
    height_px: int
    fps: int
    max_kbps: int
    hot: bool = False
    hardware: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What the encoder does. `limited_by` names what the wish was cut by (`encoder, heat`), None when nothing was."""

    width_px: int
    height_px: int
    fps: int
    max_kbps: int
    min_kbps: int
    encoder: str
    level: str
    limited_by: str | None = None


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
        return math.ceil(self.width_px / 16) * math.ceil(self.height_px / 16)

    def aligned(self, step: int) -> _Size:
        return _Size(self.width_px // step * step, self.height_px // step * step)

    def scaled(self, factor: float) -> _Size:
        return _Size(int(self.width_px * factor), int(self.height_px * factor))


def plan(board: BoardLimits, wish: Wish) -> Plan | Refusal:
    """The nearest thing to the wish that the board's encoder does in real time."""
    limits = (board.hardware if wish.hardware else None) or board.software
    if limits is None:
        return Refusal('this board has no video encoder: use a camera that encodes by itself (video.source = "rtsp")')
    if min(wish.width_px, wish.height_px, wish.fps, wish.max_kbps) < 1:
        return Refusal("video.width_px, height_px, fps and max_kbps must all be above 0: raise the one that is not")
    asked = _Size(wish.width_px, wish.height_px)
    fitting = _within(limits, asked)
    budget = int(limits.max_mb_per_s * (HEAT_SHARE if wish.hot else 1))
    size, fps = _real_time(fitting, wish.fps, budget, limits.align_px)
    if size.width_px < MIN_WIDTH_PX or size.height_px < MIN_HEIGHT_PX:
        return Refusal(
            f"a picture of {size.width_px}x{size.height_px} pixels is too small to be of use: "
            f"set video.width_px and video.height_px to {MIN_WIDTH_PX} and {MIN_HEIGHT_PX} at least"
        )
    kbps = min(max(wish.max_kbps, limits.min_kbps), limits.max_kbps)
    cuts = []
    if fitting != asked:
        cuts.append("size")
    if (size, fps) != (fitting, wish.fps):
        cuts.append("heat" if fitting.macroblocks * wish.fps <= limits.max_mb_per_s else "encoder")
    if kbps != wish.max_kbps:
        cuts.append("bitrate")
    return Plan(
        width_px=size.width_px, height_px=size.height_px, fps=fps, max_kbps=kbps, min_kbps=limits.min_kbps,
        encoder=limits.name, level=_level(size, fps, kbps), limited_by=", ".join(cuts) or None,
    )  # fmt: skip


def fit(width_px: int, height_px: int, chosen: Plan) -> tuple[int, int]:
    """The size to encode a picture of this size at: never larger than it is or than the plan, even, same shape."""
    factor = min(1.0, chosen.width_px / width_px, chosen.height_px / height_px)
    size = _Size(width_px, height_px).scaled(factor).aligned(2)
    return max(2, size.width_px), max(2, size.height_px)


def _within(limits: EncoderLimits, size: _Size) -> _Size:
    factor = min(1.0, limits.max_width_px / size.width_px, limits.max_height_px / size.height_px)
    return size.scaled(factor).aligned(limits.align_px)


def _real_time(size: _Size, fps: int, budget: int, step: int) -> tuple[_Size, int]:
    """Fewer pictures down to FLUENT_FPS, then smaller ones; `budget` in macroblocks per second."""
    fps_now = budget // max(1, size.macroblocks)
    wanted = min(fps, FLUENT_FPS)
    if fps_now >= wanted:
        return size, min(fps, fps_now)
    factor = math.sqrt(budget / (size.macroblocks * wanted))
    smaller = size.scaled(factor).aligned(step)
    while smaller.macroblocks * wanted > budget:  # partly filled macroblocks count as whole ones
        factor *= 0.99
        smaller = size.scaled(factor).aligned(step)
    return smaller, wanted


def _level(size: _Size, fps: int, kbps: int) -> str:
    rate = size.macroblocks * fps
    if size.macroblocks <= LEVEL_3_1_MACROBLOCKS and rate <= LEVEL_3_1_MB_PER_S and kbps <= LEVEL_4_0_KBPS:
        return "3.1"
    if rate <= LEVEL_4_MB_PER_S:
        return "4.0" if kbps <= LEVEL_4_0_KBPS else "4.1"
    return "4.2"
