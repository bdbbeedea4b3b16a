"""How fast this machine encodes in software: measured once, remembered."""

from __future__ import annotations

import json
import logging
import os
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from edge_node import durable
from edge_node.encode_plan.rules import macroblocks
from edge_node.media.encoders.codec import TIME_BASE, OpenCodec
from edge_node.media.encoders.libx264 import open_libx264
from edge_node.ports import VIDEO_CLOCK

if TYPE_CHECKING:
    import numpy.typing as npt

log = logging.getLogger(__name__)

FILE = "encoder-speed.json"
SIZE = (640, 352)
FPS, KBPS = 30, 1000
SHOWN = 8
"""So many different pictures, over and over: noise costs an encoder more than most cameras' pictures do."""
FIRST, PICTURES = 4, 90
CPU_LIMIT_S = 1.0
SHARE = 0.6
"""Of the measured speed: a board that encodes all the time gets warmer than one that does for a second."""
DICE = 4
DICE_DEVIATION = DICE**0.5 * 73.9
"""Of the sum of so many bytes."""


class Calibration:
    """The software encoder's speed in macroblocks a second at preset ultrafast, with SHARE of it kept in hand.

    Kept in `state_dir`; measured anew when the processor, PyAV (whose wheels hold x264) or FFmpeg is another one.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        machine: Callable[[], str] | None = None,
        open_codec: OpenCodec | None = None,
        cpu_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._path = state_dir / FILE
        self._machine = machine or machine_name
        self._open = open_codec or _ultrafast
        self._cpu_time = cpu_time

    def __call__(self) -> int | None:
        """What is remembered, else what is measured; blocks for up to a second. None when it cannot be measured."""
        try:
            machine = f"{self._machine()}, {_encoder_name()}"
            remembered = self._remembered(machine)
            if remembered is not None:
                return remembered
            measured = int(self._measure() * SHARE)
        except (av.FFmpegError, ValueError, MemoryError, ZeroDivisionError) as err:
            log.warning("the software encoder's speed could not be measured, the board's profile counts: %s", err)
            return None
        log.info("the software encoder does %d macroblocks a second here", measured)
        self._remember(machine, measured)
        return measured

    def _remembered(self, machine: str) -> int | None:
        try:
            kept = json.loads(self._path.read_text())
            speed, measured_on = kept["mb_per_s"], kept["machine"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return speed if measured_on == machine and type(speed) is int and speed > 0 else None

    def _remember(self, machine: str, mb_per_s: int) -> None:
        try:
            durable.put(self._path, json.dumps({"machine": machine, "mb_per_s": mb_per_s}).encode() + b"\n")
        except OSError as err:
            log.warning("the software encoder's speed is not remembered: %s", err)

    def _measure(self) -> float:
        codec = self._open(*SIZE, FPS, KBPS)
        shown = _pictures(SHOWN)
        begun, done = 0.0, 0
        for index in range(PICTURES):
            if index == FIRST:  # the keyframe and the pages that memory is made of are not what it costs later
                begun = self._cpu_time()
            frame = shown[index % SHOWN]
            frame.pts, frame.time_base = index * VIDEO_CLOCK // FPS, TIME_BASE
            codec.encode(frame)
            done = max(0, index + 1 - FIRST)
            if done and self._cpu_time() - begun > CPU_LIMIT_S:
                break
        return done * macroblocks(*SIZE) / (self._cpu_time() - begun)


def machine_name(root: Path = Path("/")) -> str:
    """The processor as the kernel names it, with the number of its cores."""
    try:
        lines = (root / "proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    wanted = ("model name", "CPU part", "Model")
    found = {line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() in wanted}
    return f"{platform.machine()}, {os.cpu_count()} cores, {', '.join(sorted(found)) or 'unknown'}"


def _encoder_name() -> str:
    library = ".".join(str(part) for part in av.library_versions["libavcodec"])
    return f"PyAV {av.__version__}, libavcodec {library}"


def _ultrafast(width_px: int, height_px: int, fps: float, ceiling_kbps: int) -> av.video.codeccontext.VideoCodecContext:
    return open_libx264(width_px, height_px, fps, ceiling_kbps, "ultrafast")


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
    """Nearly normal around 0; numpy.random would stay in memory for good, 2 MB."""
    dice = np.frombuffer(luck.randbytes(DICE * rows * columns), np.uint8).reshape(DICE, rows, columns)
    thrown: npt.NDArray[np.float32] = np.sum(dice, axis=0, dtype=np.float32)
    return (thrown - np.float32(DICE * 127.5)) * np.float32(deviation / DICE_DEVIATION)
