"""Name with time, written into raw pictures."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import av
import numpy as np

from edge_node.media import font
from edge_node.media.planes import lines
from edge_node.ports import Clock

if TYPE_CHECKING:
    from edge_node.media.planes import Plane

MARGIN_DOTS = 2
DOTS_PER_PICTURE_HEIGHT = 240
"""So many dots fit the height: letters are 1/34 of the picture high."""
LIGHT, DARK, NEUTRAL = 235, 16, 128
# Planar kinds whose first plane is luma, one byte a pixel; (rows, columns) that share one chroma sample.
_PLANAR = {"yuv420p": (2, 2), "yuvj420p": (2, 2), "yuv422p": (1, 2), "yuvj422p": (1, 2)}


class Overlay:
    """Draws `template` at the top left, {name}, {time} and {date} replaced; the clock's local time.

    From any thread. The picture given is never touched: it may be shared with others.
    """

    def __init__(self, template: str, name: str, clock: Clock) -> None:
        self._template = template
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._drawn: tuple[tuple[str, int], Plane] | None = None

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A copy of the picture with the text; other kinds of picture than planar 4:2:0 and 4:2:2 become yuv420p."""
        block = self._block(self.text(), max(1, frame.height // DOTS_PER_PICTURE_HEIGHT))
        copy = _copy(frame) if frame.format.name in _PLANAR else frame.reformat(format="yuv420p")
        rows, columns = (
            min(side, room) // 2 * 2 for side, room in zip(block.shape, (copy.height, copy.width), strict=True)
        )
        step_rows, step_columns = _PLANAR[copy.format.name]
        luma, *chroma = (lines(plane) for plane in copy.planes)
        luma[:rows, :columns] = block[:rows, :columns]
        for plane in chroma:
            plane[: rows // step_rows, : columns // step_columns] = NEUTRAL
        return copy

    def text(self) -> str:
        """What is written now."""
        local = time.localtime(self._clock.wall())
        fields = {
            "name": self._name,
            "time": time.strftime("%H:%M:%S", local),
            "date": time.strftime("%Y-%m-%d", local),
        }
        return font.drawable(fill(self._template, fields))

    def _block(self, text: str, scale: int) -> Plane:
        """Light letters on a dark field, shape (rows, columns), drawn anew when the text changes."""
        with self._lock:
            if self._drawn is None or self._drawn[0] != (text, scale):
                self._drawn = ((text, scale), _draw(text, scale))
            return self._drawn[1]


def fill(template: str, fields: dict[str, str]) -> str:
    """The template with its fields; other braces stay as they are."""
    for name, value in fields.items():
        template = template.replace(f"{{{name}}}", value)
    return template


def _draw(text: str, scale: int) -> Plane:
    advance = font.WIDTH + 1
    dots = np.zeros((font.HEIGHT + 2 * MARGIN_DOTS, advance * len(text) + 2 * MARGIN_DOTS), np.bool_)
    for index, char in enumerate(text):
        left = MARGIN_DOTS + index * advance
        for row, bits in enumerate(font.GLYPHS[char]):
            for column in range(font.WIDTH):
                dots[MARGIN_DOTS + row, left + column] = bits >> (font.WIDTH - 1 - column) & 1
    pixels = np.where(dots, np.uint8(LIGHT), np.uint8(DARK)).astype(np.uint8)
    return pixels.repeat(scale, axis=0).repeat(scale, axis=1)


def _copy(frame: av.VideoFrame) -> av.VideoFrame:
    copy = av.VideoFrame(frame.width, frame.height, frame.format.name)
    copy.color_range, copy.colorspace = frame.color_range, frame.colorspace
    for target, source in zip(copy.planes, frame.planes, strict=True):
        width = min(target.line_size, source.line_size)
        lines(target)[:, :width] = lines(source)[:, :width]
    return copy
