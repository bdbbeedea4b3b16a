"""How fast x264 is here: `python -m edge_node.media.encoders.speed` prints macroblocks a second of processor time."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import av
import numpy as np

from edge_node.encode_plan.rules import macroblocks
from edge_node.media.encoders.codec import TIME_BASE, OpenCodec
from edge_node.media.encoders.libx264 import open_libx264
from edge_node.ports import VIDEO_CLOCK

if TYPE_CHECKING:
    import numpy.typing as npt

SIZE = (640, 352)
FPS, KBPS = 30, 1000
SHOWN = 8
"""So many different pictures, over and over: noise costs an encoder more than most cameras' pictures do."""
FIRST, PICTURES = 4, 90
CPU_LIMIT_S = 1.0
DICE = 4
DICE_DEVIATION = DICE**0.5 * 73.9
"""Of the sum of so many bytes."""


def _ultrafast(width_px: int, height_px: int, fps: float, ceiling_kbps: int) -> av.video.codeccontext.VideoCodecContext:
    return open_libx264(width_px, height_px, fps, ceiling_kbps, "ultrafast")


def measure(open_codec: OpenCodec = _ultrafast, cpu_time: Callable[[], float] = time.thread_time) -> float:
    """Macroblocks a second at preset ultrafast; takes up to CPU_LIMIT_S. Raises what the codec raises."""
    codec = open_codec(*SIZE, FPS, KBPS)
    shown = _pictures(SHOWN)
    begun, done = 0.0, 0
    for index in range(PICTURES):
        if index == FIRST:  # the keyframe and the pages that memory is made of are not what it costs later
            begun = cpu_time()
        frame = shown[index % SHOWN]
        frame.pts, frame.time_base = index * VIDEO_CLOCK // FPS, TIME_BASE
        codec.encode(frame)
        done = max(0, index + 1 - FIRST)
        if done and cpu_time() - begun > CPU_LIMIT_S:
            break
    return done * macroblocks(*SIZE) / (cpu_time() - begun)


def _pictures(count: int) -> list[av.VideoFrame]:
    """A textured scene that sways, with some noise: the same in every call."""
    width, height = SIZE
    luck = random.Random(1)
    scene = 128 + _noise(luck, height // 16 + 2, width // 16 + 2, 30.0).repeat(16, 0).repeat(16, 1)
    scene += _noise(luck, scene.shape[0], scene.shape[1], 4.0)
    frames = []
    for index in range(count):
        planes = np.full((height * 3 // 2, width), 128, np.uint8)
        seen = scene[index : index + height, 2 * index : 2 * index + width] + _noise(luck, height, width, 2.0)
        planes[:height] = np.clip(seen, 16, 235)
        frames.append(av.VideoFrame.from_ndarray(planes, "yuv420p"))
    return frames


def _noise(luck: random.Random, rows: int, columns: int, deviation: float) -> npt.NDArray[np.float32]:
    """Nearly normal around 0; numpy.random takes longer to load than this."""
    dice = np.frombuffer(luck.randbytes(DICE * rows * columns), np.uint8).reshape(DICE, rows, columns)
    thrown: npt.NDArray[np.float32] = np.sum(dice, axis=0, dtype=np.float32)
    return (thrown - np.float32(DICE * 127.5)) * np.float32(deviation / DICE_DEVIATION)


if __name__ == "__main__":
    sys.stdout.write(f"{measure()}\n")
