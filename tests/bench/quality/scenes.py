"""Pictures as a door's camera gives them, the same in every run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Luma = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float64]
MARGIN = 80
NOISE = 2.0
"""Standard deviation of a camera's noise in daylight, in steps of 8 bits."""


def smooth(picture: Float, widths: tuple[int, ...] = (3, 5, 9)) -> Float:
    """Box filters, one after the other, both ways."""
    for width in widths:
        for axis in (0, 1):
            total = np.cumsum(np.pad(picture, [(width, 0) if a == axis else (0, 0) for a in (0, 1)], mode="edge"), axis)
            picture = (np.take(total, range(width, total.shape[axis]), axis) - np.take(
                total, range(total.shape[axis] - width), axis
            )) / width  # fmt: skip
    return picture


def ground(width_px: int, height_px: int, luck: np.random.Generator) -> Float:
    """Soft shapes with a fine texture: walls, leaves, stones."""
    coarse = luck.normal(0, 1, (height_px // 8 + MARGIN // 8 + 2, width_px // 8 + MARGIN // 8 + 2))
    soft = smooth(coarse.repeat(8, 0).repeat(8, 1))
    soft = (soft - np.min(soft)) / np.ptp(soft) * 200 + 20
    textured: Float = soft + luck.normal(0, 6, soft.shape)
    return textured


def scene(count: int, width_px: int, height_px: int, sway: Callable[[int], tuple[int, int]]) -> Iterator[Luma]:
    """`count` pictures of shape (height, width): somebody walks past, the camera sways, all is noisy."""
    luck = np.random.default_rng(3)
    base = ground(width_px, height_px, luck)
    grain = [luck.normal(0, NOISE, (height_px, width_px)) for _ in range(6)]
    tall, wide = height_px * 5 // 9, width_px // 8
    for index in range(count):
        y, x = sway(index)
        seen = base[y : y + height_px, x : x + width_px].copy()
        at = index * 6 % (width_px - wide)
        seen[height_px // 4 : height_px // 4 + tall, at : at + wide] = base[:tall, 200 : 200 + wide] * 0.6 + 40
        yield np.clip(seen + grain[index % len(grain)], 16, 235).astype(np.uint8)


def fixed(_index: int) -> tuple[int, int]:
    """A camera on a wall."""
    return MARGIN // 2, MARGIN // 2


def swaying(index: int) -> tuple[int, int]:
    """A camera on a gate in the wind."""
    return 20 + int(10 * np.sin(index / 15)), 40 + int(30 * np.sin(index / 22))


SCENES: dict[str, Any] = {"wall": fixed, "gate": swaying}
