"""The camera that this machine happens to have."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import logging
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edge_node.encode_plan.plan import Plan
from edge_node.errors import DeviceMissing
from edge_node.ports import Demand, VideoSink, VideoSource

log = logging.getLogger(__name__)

# linux/videodev2.h
VIDIOC_QUERYCAP = 0x80685600
CAP_VIDEO_CAPTURE = 0x00000001
CAP_VIDEO_M2M = 0x00008000
CAP_VIDEO_M2M_MPLANE = 0x00004000
CAP_DEVICE_CAPS = 0x80000000
_CAPABILITY = struct.Struct("16s32s32sIII12x")
# Nodes of a Pi's own camera pipeline: they give sensor data that only libcamera understands, or are codecs.
NO_CAMERAS = ("unicam", "bcm2835-codec", "bcm2835-isp", "rp1-cfe", "pispbe", "rpi-hevc-dec")


@dataclass(frozen=True, slots=True)
class Detected:
    """What was found: the camera module through picamera2, capture devices in their order."""

    camera_module: bool = False
    capture_devices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """A kind as in video.source, with the device for v4l2."""

    kind: Literal["camera", "v4l2", "none"]
    device: str | None = None


def choose(detected: Detected) -> Choice:
    """The camera module first: the board encodes its pictures; then the first capture device."""
    if detected.camera_module:
        return Choice("camera")
    if detected.capture_devices:
        return Choice("v4l2", detected.capture_devices[0])
    return Choice("none")


def detect(dev: Path = Path("/dev")) -> Detected:
    """Looks at this machine; opens nothing for long, starts no camera. Blocks for some milliseconds."""
    nodes = [node for node in dev.glob("video*") if node.name.removeprefix("video").isdigit()]
    nodes.sort(key=lambda node: int(node.name.removeprefix("video")))
    return Detected(_has_camera_module(), tuple(str(node) for node in nodes if _is_camera(node)))


class AutoSource:
    """The source `auto`: looks each time it runs, so that a camera plugged in later is found."""

    def __init__(self, make: Callable[[Choice], VideoSource], look: Callable[[], Detected] = detect) -> None:
        self._make = make
        self._look = look
        self._inner: VideoSource | None = None
        self._on_lux: Callable[[float], None] | None = None
        self._decoders_before = 0

    @property
    def label(self) -> str:
        """The kind that was found; `auto` before."""
        return self._inner.label if self._inner is not None else "auto"

    @property
    def demand(self) -> Demand | None:
        """That of the source found."""
        return self._inner.demand if self._inner is not None else None

    def set_plan(self, plan: Plan) -> None:
        """Handed on to a source that takes it."""
        tell = getattr(self._inner, "set_plan", None)
        if tell is not None:
            tell(plan)

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        """Handed on to a source that has controls."""
        tell = getattr(self._inner, "set_controls", None)
        if tell is not None:
            tell(controls)

    def watch_light(self, on_lux: Callable[[float], None]) -> None:
        """Handed on to whatever source is found that tells it."""
        self._on_lux = on_lux

    @property
    def decoders_opened(self) -> int:
        """Decoders opened by all sources found so far."""
        return self._decoders_before + int(getattr(self._inner, "decoders_opened", 0))

    async def run(self, sink: VideoSink) -> None:
        """Runs what it finds; DeviceMissing when there is nothing."""
        choice = choose(await asyncio.to_thread(self._look))
        self._decoders_before, self._inner = self.decoders_opened, None
        if choice.kind == "none":
            raise DeviceMissing("this machine has no camera: connect one, or set video.source")
        self._inner = self._make(choice)
        watch = getattr(self._inner, "watch_light", None)
        if watch is not None and self._on_lux is not None:
            watch(self._on_lux)
        log.info("camera found: %s %s", choice.kind, choice.device or "")
        await self._inner.run(sink)


def _has_camera_module() -> bool:
    if importlib.util.find_spec("picamera2") is None:
        return False
    try:
        from picamera2 import Picamera2

        return bool(Picamera2.global_camera_info())
    except Exception as err:  # libcamera missing, too old, or in use: each has its own exception
        log.warning("picamera2 cannot be used: %s", err)
        return False


def _is_camera(node: Path) -> bool:
    try:
        fd = os.open(node, os.O_RDWR | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        answer = fcntl.ioctl(fd, VIDIOC_QUERYCAP, bytes(_CAPABILITY.size))
    except OSError:
        return False
    finally:
        os.close(fd)
    return is_capture(answer)


def is_capture(capability: bytes) -> bool:
    """Whether a `struct v4l2_capability` describes a camera whose pictures can be used as they are."""
    driver, card, _bus, _version, capabilities, device_caps = _CAPABILITY.unpack(capability)
    caps = device_caps if capabilities & CAP_DEVICE_CAPS else capabilities
    names = (driver.split(b"\0")[0] + b" " + card.split(b"\0")[0]).decode(errors="replace")
    return (
        bool(caps & CAP_VIDEO_CAPTURE)
        and not caps & (CAP_VIDEO_M2M | CAP_VIDEO_M2M_MPLANE)
        and not any(name in names for name in NO_CAMERAS)
    )
