"""The test picture: something that moves under a clock that people can read."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import av
import numpy as np

from edge_node.media.luma_stamp import Stamp, draw_stamp
from edge_node.media.planes import lines
from edge_node.media.source_thread import run_in_thread
from edge_node.ports import Clock, VideoSink

if TYPE_CHECKING:
    import numpy.typing as npt

    from edge_node.media.planes import Plane

    Stripes = list[tuple[slice, npt.NDArray[np.uint8]]]
    """From the top down: some rows, what each of them looks like."""

# A 5x7 font for the clock: seven rows of five bits each, top first.
_FONT = {
    "0": (14, 17, 19, 21, 25, 17, 14), "1": (4, 12, 4, 4, 4, 4, 14), "2": (14, 17, 1, 2, 4, 8, 31),
    "3": (31, 2, 4, 2, 1, 17, 14), "4": (2, 6, 10, 18, 31, 2, 2), "5": (31, 16, 30, 1, 1, 17, 14),
    "6": (6, 8, 16, 30, 17, 17, 14), "7": (31, 1, 2, 4, 8, 8, 8), "8": (14, 17, 17, 14, 17, 17, 14),
    "9": (14, 17, 17, 15, 1, 2, 12), ":": (0, 12, 12, 0, 12, 12, 0), ".": (0, 0, 0, 0, 0, 12, 12),
}  # fmt: skip
_CLOCK_CHARS = 12
# Colour bars as (Y, U, V), BT.601 at 75 %.
_BARS = (
    (180, 128, 128), (162, 44, 142), (131, 156, 44), (112, 72, 58), (84, 184, 198), (65, 100, 212), (35, 212, 114),
)  # fmt: skip
_DARK, _LIGHT = 30, 225
_BOX = (200, 90, 160)
# Behind by more than this, the source forgets the pictures that it missed.
MAX_LATE_S = 0.5


class PatternPainter:
    """Paints pictures of one size, yuv420p; each is a new frame that belongs to the caller."""

    def __init__(self, width_px: int, height_px: int) -> None:
        self._width, self._height = width_px, height_px
        self._stripes = _stripes(width_px, height_px)
        self._scale = max(1, width_px * 4 // 5 // (_CLOCK_CHARS * 6))
        self._glyphs = {char: _glyph(rows, self._scale) for char, rows in _FONT.items()}
        self._box = max(16, height_px // 6) // 2 * 2

    def paint(self, text: str, stamp: Stamp, phase: float) -> av.VideoFrame:
        """`text` of the clock's characters (HH:MM:SS.mmm); `phase` in seconds says where the box is."""
        frame = av.VideoFrame(self._width, self._height, "yuv420p")
        planes = [lines(plane) for plane in frame.planes]
        for plane, stripes in zip(planes, self._stripes, strict=True):
            for rows, row in stripes:
                plane[rows, : len(row)] = row
        self._paint_box(planes, phase)
        luma = planes[0][:, : self._width]
        self._paint_text(luma, text)
        draw_stamp(luma, stamp)
        return frame

    def _paint_box(self, planes: list[Plane], phase: float) -> None:
        x = _bounce(phase * self._width / 4, self._width - self._box) // 2 * 2
        y = _bounce(phase * self._height / 3, self._height - 64 - self._box) // 2 * 2
        for plane, level, step in zip(planes, _BOX, (1, 2, 2), strict=True):
            plane[y // step : (y + self._box) // step, x // step : (x + self._box) // step] = level

    def _paint_text(self, luma: Plane, text: str) -> None:
        advance = 6 * self._scale
        left = (self._width - advance * len(text)) // 2
        top = self._height // 3
        for char in text:
            glyph = self._glyphs[char]
            luma[top : top + glyph.shape[0], left : left + glyph.shape[1]] = glyph
            left += advance


class PatternSource:
    """The source `test`: PatternPainter at a steady rate."""

    label = "test"
    demand = None

    def __init__(self, width_px: int, height_px: int, fps: int, clock: Clock) -> None:
        self._size = (max(width_px, 160) // 2 * 2, max(height_px, 96) // 2 * 2)
        self._fps = fps
        self._clock = clock

    async def run(self, sink: VideoSink) -> None:
        """Paints until cancelled."""
        await run_in_thread(lambda stop: self._paint(sink, stop), "video-test")

    def _paint(self, sink: VideoSink, stop: threading.Event) -> None:
        painter = PatternPainter(*self._size)
        due = begun = self._clock.monotonic()
        index = 0
        while not stop.wait(max(0.0, due - self._clock.monotonic())):
            now = self._clock.monotonic()
            stamp = Stamp(index, int(now * 1000))
            sink.picture(painter.paint(clock_text(self._clock.wall()), stamp, now - begun), now)
            index += 1
            due += 1 / self._fps
            if now - due > MAX_LATE_S:
                due = now


def clock_text(wall_s: float) -> str:
    """Local time as HH:MM:SS.mmm."""
    return f"{time.strftime('%H:%M:%S', time.localtime(wall_s))}.{int(wall_s * 1000) % 1000:03d}"


def _stripes(width: int, height: int) -> list[Stripes]:
    """Colour bars above a grey ramp, with a dark field for the clock; three planes."""
    planes: list[Stripes] = []
    for index, step in enumerate((1, 2, 2)):
        plane_width, plane_height = width // step, height // step
        bar = np.arange(plane_width) * len(_BARS) // plane_width
        row = np.array([colour[index] for colour in _BARS], dtype=np.uint8)[bar]
        ramp = np.linspace(_DARK, _LIGHT, plane_width) if index == 0 else np.full(plane_width, 128)
        field = np.full(plane_width, _DARK if index == 0 else 128, np.uint8)
        top, bottom = plane_height // 3 - plane_height // 30, plane_height // 3 + plane_height // 5
        ramp_top = plane_height * 3 // 4
        planes.append(
            [
                (slice(0, top), row),
                (slice(top, bottom), field),
                (slice(bottom, ramp_top), row),
                (slice(ramp_top, plane_height), ramp.astype(np.uint8)),
            ]
        )
    return planes


def _glyph(rows: tuple[int, ...], scale: int) -> Plane:
    bits = np.array([[row >> shift & 1 for shift in range(4, -1, -1)] for row in rows], dtype=np.uint8)
    pixels = np.where(bits == 1, np.uint8(_LIGHT), np.uint8(_DARK)).astype(np.uint8)
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def _bounce(distance: float, room: int) -> int:
    """Where something is that went this far between two walls."""
    there = int(distance) % max(1, 2 * room)
    return min(there, 2 * room - there)
