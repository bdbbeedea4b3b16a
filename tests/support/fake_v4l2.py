"""A USB camera that is not there: as much of the kernel's V4L2 as edge_node.media.v4l2 uses."""

from __future__ import annotations

import errno
import mmap
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import av

from edge_node.media.jpeg import encode_jpeg
from edge_node.media.v4l2 import videodev2 as v4l2
from tests.support.h264 import make_units, painted

SIZES = ((320, 240), (640, 480))
RAW_NAMES = {"NV12": "nv12", "YU12": "yuv420p", "YUYV": "yuyv422", "UYVY": "uyvy422"}
MONOTONIC = v4l2.BUF_FLAG_TIMESTAMP_MONOTONIC
T = TypeVar("T")


@dataclass
class Picture:
    """What the driver puts into a buffer."""

    data: bytes
    flags: int = MONOTONIC
    age_s: float = 0.0


@dataclass
class FakeCamera:
    """The environment's side: what it can do, what goes wrong, what was asked.

    `formats`: fourcc → sizes → the most pictures a second. `script` comes before the usual pictures. `fails`: a request
    → the number it fails with. `padding`: bytes behind each line of raw pictures.
    """

    formats: dict[str, dict[tuple[int, int], int]] = field(
        default_factory=lambda: {"YUYV": dict.fromkeys(SIZES, 30), "MJPG": dict.fromkeys(SIZES, 30)}
    )
    script: Sequence[Picture] = ()
    fails: dict[int, int] = field(default_factory=dict)
    caps: int = v4l2.CAP_VIDEO_CAPTURE | v4l2.CAP_STREAMING
    lists_sizes: bool = True
    sets_rate: bool = True
    range_of_sizes: bool = False
    fails_once: bool = False
    padding: int = 0
    buffers: int | None = None
    at_once: int = 1
    open: int = 0
    mapped: list[mmap.mmap] = field(default_factory=list)
    refused_formats: tuple[str, ...] = ()
    plugged: threading.Event = field(default_factory=threading.Event)
    frozen: threading.Event = field(default_factory=threading.Event)
    hangs: Callable[[], object] = lambda: None
    damages: bool = False
    streams: FakeDevice | None = None
    fmt: str = ""
    size: tuple[int, int] = (0, 0)
    fps: int = 30

    def __post_init__(self) -> None:
        self.plugged.set()
        self._made: dict[tuple[str, tuple[int, int]], list[bytes]] = {}

    def device(self, path: str) -> FakeDevice:
        """What opening it gives."""
        if 0 in self.fails:
            raise OSError(self.fails[0], os.strerror(self.fails[0]), path)
        self.open += 1
        return FakeDevice(self)

    # tests.contract.v4l2_cases.Trouble

    def unplug(self) -> None:
        self.plugged.clear()

    def break_stream(self) -> None:
        self.fails[v4l2.DQBUF] = errno.EIO

    def damage(self) -> None:
        self.damages = True

    def refuse_start(self) -> None:
        self.fails[v4l2.STREAMON] = errno.EINVAL

    @property
    def lent(self) -> int:
        """Buffers that nobody gave back."""
        return sum(not memory.closed for memory in self.mapped)

    def pictures(self) -> list[bytes]:
        """The film that it shows over and over, in its format."""
        key = self.fmt, self.size
        if key not in self._made:
            self._made[key] = coded_as(self.fmt, self.size, self.padding)
        return self._made[key]

    def line_bytes(self) -> int:
        if self.fmt not in RAW_NAMES:
            return 0
        return self.size[0] * (2 if self.fmt in ("YUYV", "UYVY") else 1) + self.padding


def coded_as(fmt: str, size: tuple[int, int], padding: int = 0, count: int = 12) -> list[bytes]:
    """Test pictures in a format of V4L2; `padding` bytes behind each line of luma."""
    if fmt == "H264":
        return [unit.data for unit in make_units(count, gop=6)]
    frames = painted(count, *size)
    if fmt not in RAW_NAMES:
        return [encode_jpeg(frame, 1_000_000)[0] for frame in frames]
    return [raw(frame.reformat(format=RAW_NAMES[fmt]), padding) for frame in frames]


def raw(frame: av.VideoFrame, padding: int) -> bytes:
    """The planes one behind the other, as drivers lay them out; of YU12 chroma has half the padding."""
    data = b""
    for number, plane in enumerate(frame.planes):
        half = frame.format.name == "yuv420p" and number > 0
        wide = plane.width * (2 if len(frame.planes) == 1 or (frame.format.name == "nv12" and number) else 1)
        content = bytes(memoryview(plane))
        gap = bytes(padding // 2 if half else padding)
        data += b"".join(
            content[row * plane.line_size : row * plane.line_size + wide] + gap for row in range(plane.height)
        )
    return data


class FakeDevice:
    """The program's side: edge_node.media.v4l2.device.Device."""

    def __init__(self, camera: FakeCamera) -> None:
        self._camera = camera
        self._memory: list[mmap.mmap] = []
        self._queued: deque[int] = deque()
        self._filled: deque[tuple[int, Picture]] = deque()
        self._streaming = False
        self._shown = 0
        self._due = 0.0

    def ioctl(self, request: int, argument: Any) -> None:
        camera = self._camera
        if not camera.plugged.is_set():
            raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
        if request == v4l2.S_FMT and camera.streams not in (None, self):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        if number := camera.fails.get(request):
            if camera.fails_once:
                del camera.fails[request]
            raise OSError(number, os.strerror(number))
        self.ANSWERS[request](self, argument)

    def map(self, offset: int, length: int) -> mmap.mmap:
        memory = mmap.mmap(-1, length)
        assert offset == len(self._memory) * mmap.PAGESIZE
        self._memory.append(memory)
        self._camera.mapped.append(memory)
        return memory

    def wait(self, timeout_s: float) -> bool:
        camera = self._camera
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            if not camera.plugged.is_set():
                return True
            if self._streaming and not camera.frozen.is_set() and time.monotonic() >= self._due:
                self._due = time.monotonic() + 1 / camera.fps
                for _ in range(min(camera.at_once, len(self._queued))):
                    self._fill()
                return True
            time.sleep(0.002)
        return False

    def close(self) -> None:
        assert not [memory for memory in self._memory if not memory.closed], "a buffer is still mapped"
        self._let_go()
        self._camera.open -= 1
        if not self._camera.open:
            self._camera.plugged.set()  # as vivid does it

    def _let_go(self) -> None:
        if self._camera.streams is self:
            self._camera.streams = None

    def _fill(self) -> None:
        camera, shown = self._camera, self._shown
        self._shown += 1
        film = camera.pictures()
        flags = MONOTONIC | (v4l2.BUF_FLAG_ERROR if camera.damages else 0)
        camera.damages = False
        picture = camera.script[shown] if shown < len(camera.script) else Picture(film[shown % len(film)], flags)
        index = self._queued.popleft()
        self._memory[index][: len(picture.data)] = picture.data
        self._filled.append((index, picture))

    # What the kernel answers

    def _capability(self, answer: v4l2.Capability) -> None:
        answer.driver, answer.card = b"fake", b"Fake camera"
        answer.capabilities, answer.device_caps = self._camera.caps | v4l2.CAP_DEVICE_CAPS, self._camera.caps

    def _format_number(self, answer: v4l2.FormatDescription) -> None:
        names = list(self._camera.formats)
        answer.pixelformat = v4l2.fourcc(_at(names, answer.index))

    def _size_number(self, answer: v4l2.FrameSize) -> None:
        if not self._camera.lists_sizes:
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        sizes = list(self._camera.formats[v4l2.named(answer.pixel_format)])
        width, height = _at(sizes, answer.index)
        answer.type = 3 if self._camera.range_of_sizes else v4l2.DISCRETE
        answer.stepwise.min_width, answer.stepwise.max_width = width, height

    def _interval_number(self, answer: v4l2.FrameInterval) -> None:
        rates = self._camera.formats[v4l2.named(answer.pixel_format)]
        most = rates.get((answer.width, answer.height))
        if most is None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        answer.type = v4l2.DISCRETE
        answer.shortest = v4l2.Fraction(1, _at([most, max(1, most // 2)], answer.index))

    def _set_format(self, answer: v4l2.Format) -> None:
        camera, pix = self._camera, answer.pix
        name = v4l2.named(pix.pixelformat)
        if name in camera.refused_formats:
            name = next(iter(camera.formats))
            pix.pixelformat = v4l2.fourcc(name)
        camera.fmt = name
        camera.size = min(camera.formats[name], key=lambda size: abs(size[0] - pix.width))
        pix.width, pix.height = camera.size
        pix.bytesperline = camera.line_bytes()
        pix.sizeimage = max(map(len, camera.pictures())) + 100

    def _set_rate(self, answer: v4l2.CaptureParameters) -> None:
        answer.capability = v4l2.CAP_TIMEPERFRAME if self._camera.sets_rate else 0
        self._camera.fps = answer.timeperframe.denominator

    def _request_buffers(self, answer: v4l2.RequestBuffers) -> None:
        assert not [memory for memory in self._memory if not memory.closed], "buffers are given back while mapped"
        self._memory.clear()
        if self._camera.buffers is not None and answer.count:
            answer.count = self._camera.buffers

    def _query_buffer(self, answer: v4l2.Buffer) -> None:
        answer.length = max(map(len, self._camera.pictures())) + 100
        answer.offset = answer.index * mmap.PAGESIZE

    def _queue(self, answer: v4l2.Buffer) -> None:
        assert answer.index not in self._queued, "queued twice"
        self._queued.append(answer.index)

    def _dequeue(self, answer: v4l2.Buffer) -> None:
        self._camera.hangs()
        if not self._filled:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        index, picture = self._filled.popleft()
        taken_s = time.monotonic() - picture.age_s
        answer.index, answer.bytesused, answer.flags, answer.sequence = index, len(picture.data), picture.flags, 0
        answer.timestamp = v4l2.TimeVal(int(taken_s), int(taken_s % 1 * 1e6))

    def _stream_on(self, _: object) -> None:
        self._streaming = True
        self._camera.streams = self

    def _stream_off(self, _: object) -> None:
        self._streaming = False
        self._queued.clear()
        self._let_go()

    ANSWERS: ClassVar[dict[int, Callable[..., None]]] = {
        v4l2.QUERYCAP: _capability, v4l2.ENUM_FMT: _format_number, v4l2.ENUM_FRAMESIZES: _size_number,
        v4l2.ENUM_FRAMEINTERVALS: _interval_number, v4l2.S_FMT: _set_format, v4l2.S_PARM: _set_rate,
        v4l2.REQBUFS: _request_buffers, v4l2.QUERYBUF: _query_buffer, v4l2.QBUF: _queue, v4l2.DQBUF: _dequeue,
        v4l2.STREAMON: _stream_on, v4l2.STREAMOFF: _stream_off,
    }  # fmt: skip


def _at(entries: Sequence[T], index: int) -> T:
    if index >= len(entries):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return entries[index]
