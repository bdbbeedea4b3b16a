"""A number pair drawn into a picture's brightness so that a program can read it back after any codec."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Luma = npt.NDArray[np.uint8]

BITS = 32
CHECK_BITS = 4
CELLS = BITS + CHECK_BITS
ROW_PX = 16
BLACK, WHITE = 16, 235
_MASK = (1 << BITS) - 1


@dataclass(frozen=True, slots=True)
class Stamp:
    """The picture's number, with the time it was drawn: milliseconds of Clock.monotonic(), both modulo 2**32."""

    index: int
    at_ms: int


def draw_stamp(luma: Luma, stamp: Stamp) -> None:
    """Draws two rows of cells at the foot of the picture, which must be at least 144 x 48 pixels."""
    for row, number in enumerate((stamp.index, stamp.at_ms)):
        top, cell = _geometry(luma, row)
        value = ((number & _MASK) << CHECK_BITS) | _check(number & _MASK)
        bits = np.array([value >> shift & 1 for shift in range(CELLS - 1, -1, -1)], dtype=np.uint8)
        luma[top : top + ROW_PX, : CELLS * cell] = np.repeat(bits * np.uint8(WHITE - BLACK) + np.uint8(BLACK), cell)


def read_stamp(luma: Luma) -> Stamp | None:
    """Reads it back from a decoded picture of the same size; None where none can be read."""
    numbers = []
    for row in range(2):
        top, cell = _geometry(luma, row)
        rows = luma[top + 4 : top + ROW_PX - 4, : CELLS * cell].mean(axis=0).reshape(CELLS, cell)
        value = 0
        for level in rows[:, cell // 4 : cell - cell // 4].mean(axis=1):
            value = value << 1 | int(level > (BLACK + WHITE) / 2)
        number, check = value >> CHECK_BITS, value & ((1 << CHECK_BITS) - 1)
        if check != _check(number):
            return None
        numbers.append(number)
    return Stamp(*numbers)


def _geometry(luma: Luma, row: int) -> tuple[int, int]:
    height, width = luma.shape
    return (height // ROW_PX - 3 + row) * ROW_PX, width // CELLS


def _check(number: int) -> int:
    """Never 0 for 0, so that a black picture carries no stamp."""
    total = 0b1010
    while number:
        total ^= number & 0xF
        number >>= 4
    return total
