"""The stream of a camera, in a few buffers that its driver lends."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
from collections.abc import Callable
from dataclasses import dataclass

from edge_node.media.v4l2 import videodev2 as v4l2
from edge_node.media.v4l2.device import Device
from edge_node.media.v4l2.offers import H264, LUMA_BYTES, Offer, Wish, offers

BUFFERS = 4
"""One is filled, one read, two wait. FFmpeg's own input asks for 256, 59 MB with a 720p camera."""
NEXT_OFFER = (errno.EINVAL, errno.EIO, errno.ENOSPC)
"""A format that is refused, or too much for the bus (ENOSPC): the next one may do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How pictures lie in the buffers; a line of raw ones takes `line_bytes`, of NV12 and YU12 one of luma."""

    fourcc: str
    width_px: int
    height_px: int
    line_bytes: int
    fps: float | None

    def __str__(self) -> str:
        rate = "" if self.fps is None else f" at {self.fps:g} a second"
        return f"{self.fourcc} {self.width_px}x{self.height_px}{rate}"


@dataclass(frozen=True, slots=True)
class Filled:
    """The beginning of a buffer, `size` bytes, until it is given back; `taken_at_s` by the driver's clock, if known."""

    index: int
    memory: mmap.mmap
    size: int
    taken_at_s: float | None


class Capture:
    """Streams while it is open.

    Raises OSError as the kernel does: EINVAL when it is no camera, or offers nothing that is known here.
    """

    def __init__(self, device: Device, wish: Wish) -> None:
        self._device = device
        self._memory: list[mmap.mmap] = []
        self.passed_over = 0
        """Pictures that were damaged, empty, or not the newest any more."""
        _check(device)
        self.layout = self._begin(wish)

    def next(self, timeout_s: float) -> Filled | None:
        """The newest whole picture (of H.264 the next one), None when none came. Give it back with done()."""
        if not self._device.wait(timeout_s):
            return None
        newest = self._fetch()
        while newest is not None and self.layout.fourcc != H264 and (newer := self._fetch()) is not None:
            self.passed_over += 1
            self.done(newest)
            newest = newer
        return newest

    def done(self, filled: Filled) -> None:
        """The driver may fill it again."""
        self._queue(filled.index)

    def close(self) -> None:
        """Ends the stream, gives the buffers back; what a camera that is gone says to that does not matter."""
        self._release()
        self._device.close()

    def _begin(self, wish: Wish) -> Layout:
        refused: OSError = OSError(errno.EINVAL, "no known format")
        for offer in offers(self._device, wish):
            try:
                layout = self._set(offer, wish.fps)
                self._lend()
                self._device.ioctl(v4l2.STREAMON, ctypes.c_int(v4l2.CAPTURE))
            except OSError as err:
                self._release()
                refused = err
                if err.errno not in NEXT_OFFER:
                    break
            else:
                return layout
        raise refused

    def _set(self, offer: Offer, fps: int) -> Layout:
        wished = v4l2.Format(type=v4l2.CAPTURE)
        pix = wished.pix
        pix.width, pix.height, pix.field = offer.width_px, offer.height_px, v4l2.PROGRESSIVE
        pix.pixelformat = v4l2.fourcc(offer.fourcc)
        self._device.ioctl(v4l2.S_FMT, wished)
        if v4l2.named(pix.pixelformat) != offer.fourcc:
            raise OSError(errno.EINVAL, "another format than it offered")
        line_bytes = max(pix.bytesperline, pix.width * LUMA_BYTES.get(offer.fourcc, 0))
        return Layout(offer.fourcc, pix.width, pix.height, line_bytes, self._set_rate(fps))

    def _set_rate(self, fps: int) -> float | None:
        wished = v4l2.CaptureParameters(type=v4l2.CAPTURE, timeperframe=v4l2.Fraction(1, fps))
        with contextlib.suppress(OSError):  # not every camera's rate can be set
            self._device.ioctl(v4l2.S_PARM, wished)
            given = wished.timeperframe
            if wished.capability & v4l2.CAP_TIMEPERFRAME and given.numerator:
                return float(given.denominator / given.numerator)
        return None

    def _lend(self) -> None:
        wished = v4l2.RequestBuffers(count=BUFFERS, type=v4l2.CAPTURE, memory=v4l2.MMAP)
        self._device.ioctl(v4l2.REQBUFS, wished)
        if not wished.count:
            raise OSError(errno.ENOMEM, "no buffers")
        for index in range(wished.count):
            buffer = v4l2.Buffer(index=index, type=v4l2.CAPTURE, memory=v4l2.MMAP)
            self._device.ioctl(v4l2.QUERYBUF, buffer)
            self._memory.append(self._device.map(buffer.offset, buffer.length))
            self._queue(index)

    def _queue(self, index: int) -> None:
        self._device.ioctl(v4l2.QBUF, v4l2.Buffer(index=index, type=v4l2.CAPTURE, memory=v4l2.MMAP))

    def _fetch(self) -> Filled | None:
        """The next picture that is whole; None when none waits."""
        while True:
            buffer = v4l2.Buffer(type=v4l2.CAPTURE, memory=v4l2.MMAP)
            try:
                self._device.ioctl(v4l2.DQBUF, buffer)
            except BlockingIOError:
                return None
            if not buffer.flags & v4l2.BUF_FLAG_ERROR and buffer.bytesused:
                memory = self._memory[buffer.index]
                return Filled(buffer.index, memory, min(buffer.bytesused, len(memory)), _taken_at_s(buffer))
            self.passed_over += 1
            self._queue(buffer.index)

    def _release(self) -> None:
        steps: list[Callable[[], None]] = [
            lambda: self._device.ioctl(v4l2.STREAMOFF, ctypes.c_int(v4l2.CAPTURE)),
            *(memory.close for memory in self._memory),
            lambda: self._device.ioctl(v4l2.REQBUFS, v4l2.RequestBuffers(count=0, type=v4l2.CAPTURE, memory=v4l2.MMAP)),
        ]
        for step in steps:
            with contextlib.suppress(OSError, BufferError):  # who still reads a buffer frees it with its last view
                step()
        self._memory.clear()


def _check(device: Device) -> None:
    capability = v4l2.Capability()
    device.ioctl(v4l2.QUERYCAP, capability)
    caps = capability.device_caps if capability.capabilities & v4l2.CAP_DEVICE_CAPS else capability.capabilities
    if not (caps & v4l2.CAP_VIDEO_CAPTURE and caps & v4l2.CAP_STREAMING):
        raise OSError(errno.EINVAL, "no camera")


def _taken_at_s(buffer: v4l2.Buffer) -> float | None:
    if buffer.flags & v4l2.BUF_FLAG_TIMESTAMP_MASK != v4l2.BUF_FLAG_TIMESTAMP_MONOTONIC:
        return None
    return buffer.timestamp.seconds + buffer.timestamp.microseconds / 1e6
