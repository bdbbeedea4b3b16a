"""What linux/videodev2.h says: the structures, requests, numbers that a camera needs."""

from __future__ import annotations

import ctypes
from typing import Any

u32 = ctypes.c_uint32

CAPTURE = 1  # V4L2_BUF_TYPE_VIDEO_CAPTURE
MMAP = 1  # V4L2_MEMORY_MMAP
PROGRESSIVE = 1  # V4L2_FIELD_NONE
DISCRETE = 1  # V4L2_FRMSIZE_TYPE_DISCRETE, V4L2_FRMIVAL_TYPE_DISCRETE

CAP_VIDEO_CAPTURE = 0x00000001
CAP_STREAMING = 0x04000000
CAP_DEVICE_CAPS = 0x80000000
CAP_TIMEPERFRAME = 0x1000

BUF_FLAG_ERROR = 0x0040
BUF_FLAG_TIMESTAMP_MASK = 0xE000
BUF_FLAG_TIMESTAMP_MONOTONIC = 0x2000


class Capability(ctypes.Structure):
    """struct v4l2_capability"""

    driver: bytes
    card: bytes
    capabilities: int
    device_caps: int
    _fields_ = (
        ("driver", ctypes.c_char * 16), ("card", ctypes.c_char * 32), ("bus_info", ctypes.c_char * 32),
        ("version", u32), ("capabilities", u32), ("device_caps", u32), ("reserved", u32 * 3),
    )  # fmt: skip


class FormatDescription(ctypes.Structure):
    """struct v4l2_fmtdesc"""

    pixelformat: int
    index: int
    _fields_ = (
        ("index", u32), ("type", u32), ("flags", u32), ("description", ctypes.c_char * 32), ("pixelformat", u32),
        ("mbus_code", u32), ("reserved", u32 * 3),
    )  # fmt: skip


class Stepwise(ctypes.Structure):
    """struct v4l2_frmsize_stepwise; a size of its own has only the first two, as width and height."""

    min_width: int
    max_width: int
    step_width: int
    min_height: int
    max_height: int
    step_height: int
    _fields_ = tuple((f"{what}_{side}", u32) for side in ("width", "height") for what in ("min", "max", "step"))


class FrameSize(ctypes.Structure):
    """struct v4l2_frmsizeenum"""

    index: int
    type: int
    stepwise: Stepwise
    _fields_ = (
        ("index", u32), ("pixel_format", u32), ("type", u32), ("stepwise", Stepwise), ("reserved", u32 * 2),
    )  # fmt: skip


class Fraction(ctypes.Structure):
    """struct v4l2_fract: seconds."""

    numerator: int
    denominator: int
    _fields_ = (("numerator", u32), ("denominator", u32))


class FrameInterval(ctypes.Structure):
    """struct v4l2_frmivalenum; `shortest` is the interval itself, or the least of a range."""

    index: int
    type: int
    shortest: Fraction
    _fields_ = (
        ("index", u32), ("pixel_format", u32), ("width", u32), ("height", u32), ("type", u32),
        ("shortest", Fraction), ("longest", Fraction), ("step", Fraction), ("reserved", u32 * 2),
    )  # fmt: skip


class PixelFormat(ctypes.Structure):
    """struct v4l2_pix_format"""

    width: int
    height: int
    pixelformat: int
    field: int
    bytesperline: int
    sizeimage: int
    _fields_ = tuple(
        (name, u32) for name in (
            "width", "height", "pixelformat", "field", "bytesperline", "sizeimage", "colorspace", "priv", "flags",
            "ycbcr_enc", "quantization", "xfer_func",
        )
    )  # fmt: skip


class _Formats(ctypes.Union):
    # Of windows there are pointers in it: they align it.
    _fields_ = (("pix", PixelFormat), ("raw", ctypes.c_char * 200), ("pointer", ctypes.c_void_p))


class Format(ctypes.Structure):
    """struct v4l2_format"""

    type: int
    pix: PixelFormat
    _anonymous_ = ("fmt",)
    _fields_ = (("type", u32), ("fmt", _Formats))


class CaptureParameters(ctypes.Structure):
    """struct v4l2_streamparm of a capture."""

    type: int
    capability: int
    timeperframe: Fraction
    _fields_ = (
        ("type", u32), ("capability", u32), ("capturemode", u32), ("timeperframe", Fraction), ("extendedmode", u32),
        ("readbuffers", u32), ("raw", ctypes.c_char * 176),
    )  # fmt: skip


class RequestBuffers(ctypes.Structure):
    """struct v4l2_requestbuffers"""

    count: int
    _fields_ = (("count", u32), ("type", u32), ("memory", u32), ("capabilities", u32), ("flags", u32))


class TimeVal(ctypes.Structure):
    """struct timeval"""

    seconds: int
    microseconds: int
    _fields_ = (("seconds", ctypes.c_long), ("microseconds", ctypes.c_long))


class _Place(ctypes.Union):
    _fields_ = (("offset", u32), ("userptr", ctypes.c_ulong))


class Buffer(ctypes.Structure):
    """struct v4l2_buffer"""

    index: int
    type: int
    bytesused: int
    flags: int
    timestamp: TimeVal
    sequence: int
    memory: int
    offset: int
    length: int
    _anonymous_ = ("place",)
    _fields_ = (
        ("index", u32), ("type", u32), ("bytesused", u32), ("flags", u32), ("field", u32), ("timestamp", TimeVal),
        ("timecode", u32 * 4), ("sequence", u32), ("memory", u32), ("place", _Place), ("length", u32),
        ("reserved2", u32), ("request_fd", ctypes.c_int32),
    )  # fmt: skip


def _request(direction: int, number: int, layout: Any) -> int:
    return direction << 30 | ctypes.sizeof(layout) << 16 | ord("V") << 8 | number


_WRITE, _READ = 1, 2
QUERYCAP = _request(_READ, 0, Capability)
ENUM_FMT = _request(_READ | _WRITE, 2, FormatDescription)
S_FMT = _request(_READ | _WRITE, 5, Format)
REQBUFS = _request(_READ | _WRITE, 8, RequestBuffers)
QUERYBUF = _request(_READ | _WRITE, 9, Buffer)
QBUF = _request(_READ | _WRITE, 15, Buffer)
DQBUF = _request(_READ | _WRITE, 17, Buffer)
STREAMON = _request(_WRITE, 18, ctypes.c_int)
STREAMOFF = _request(_WRITE, 19, ctypes.c_int)
S_PARM = _request(_READ | _WRITE, 22, CaptureParameters)
ENUM_FRAMESIZES = _request(_READ | _WRITE, 74, FrameSize)
ENUM_FRAMEINTERVALS = _request(_READ | _WRITE, 75, FrameInterval)


def fourcc(name: str) -> int:
    """v4l2_fourcc() of four characters."""
    return int.from_bytes(name.encode(), "little")


def named(pixelformat: int) -> str:
    """The four characters."""
    return pixelformat.to_bytes(4, "little").decode("latin-1")
