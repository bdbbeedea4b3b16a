"""What a camera offers, in the order in which it shall be tried."""

from __future__ import annotations

import errno
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edge_node.media.v4l2 import videodev2 as v4l2
from edge_node.media.v4l2.device import Device

H264 = "H264"
JPEG = ("MJPG", "JPEG")
RAW = {"NV12": "nv12", "YU12": "yuv420p", "YUYV": "yuyv422", "UYVY": "uyvy422"}
"""Fourcc to FFmpeg's name."""
LUMA_BYTES = {"NV12": 1, "YU12": 1, "YUYV": 2, "UYVY": 2}
"""For each pixel of a line of the first plane."""
PREFERRED = (H264, "NV12", "YU12", *JPEG, "YUYV", "UYVY")
"""Coded by the camera; what encoders take as it is; what USB 2 carries at full size and rate; the rest."""
ENOUGH = 0.8
"""Of the wished rate: 24 pictures a second are as good as 30."""
MOST_ENTRIES = 128
"""A driver that never ends its lists is not listened to for longer."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is planned; `coded`: H.264 may be handed through."""

    width_px: int
    height_px: int
    fps: int
    coded: bool = True


@dataclass(frozen=True, slots=True)
class Offer:
    """A format at the size nearest to the wish; `fps` is the most there, None when the camera does not say."""

    fourcc: str
    width_px: int
    height_px: int
    fps: float | None = None


def offers(device: Device, wish: Wish) -> list[Offer]:
    """The best first; empty when it has no format that is known here."""
    found = []
    for fourcc in dict.fromkeys(_formats(device)):
        if fourcc in PREFERRED and (wish.coded or fourcc != H264):
            width_px, height_px = nearest(_sizes(device, fourcc), wish)
            found.append(Offer(fourcc, width_px, height_px, _fps(device, fourcc, width_px, height_px)))
    return ranked(found, wish)


def ranked(found: Sequence[Offer], wish: Wish) -> list[Offer]:
    """First those of the wished size, then those that are fast enough, then by PREFERRED."""

    def rank(offer: Offer) -> tuple[float, bool, int]:
        slow = offer.fps is not None and offer.fps < ENOUGH * wish.fps
        return _distance((offer.width_px, offer.height_px), wish), slow, PREFERRED.index(offer.fourcc)

    return sorted(found, key=rank)


def nearest(sizes: Sequence[tuple[int, int]], wish: Wish) -> tuple[int, int]:
    """The wished size, else the smallest that covers it, else the largest; the wish itself where none are told."""
    return min(sizes, key=lambda size: _distance(size, wish), default=(wish.width_px, wish.height_px))


def _distance(size: tuple[int, int], wish: Wish) -> float:
    """0: as wished; below 1: larger, the smaller the better; above: smaller, the larger the better."""
    pixels, wished = size[0] * size[1], wish.width_px * wish.height_px
    if size == (wish.width_px, wish.height_px):
        return 0.0
    if size[0] >= wish.width_px and size[1] >= wish.height_px:
        return 1.0 - wished / (pixels + wished)
    return 1.0 + wished / max(pixels, 1)


def _formats(device: Device) -> Iterator[str]:
    for index in range(MOST_ENTRIES):
        description = v4l2.FormatDescription(index=index, type=v4l2.CAPTURE)
        if not _asked(device, v4l2.ENUM_FMT, description):
            return
        yield v4l2.named(description.pixelformat)


def _sizes(device: Device, fourcc: str) -> list[tuple[int, int]]:
    sizes = []
    for index in range(MOST_ENTRIES):
        size = v4l2.FrameSize(index=index, pixel_format=v4l2.fourcc(fourcc))
        if not _asked(device, v4l2.ENUM_FRAMESIZES, size):
            break
        if size.type != v4l2.DISCRETE:  # any size in a range: the driver comes as near as it can
            return []
        sizes.append((size.stepwise.min_width, size.stepwise.max_width))  # width and height are in these two places
    return sizes


def _fps(device: Device, fourcc: str, width_px: int, height_px: int) -> float | None:
    most = None
    for index in range(MOST_ENTRIES):
        interval = v4l2.FrameInterval(index=index, pixel_format=v4l2.fourcc(fourcc), width=width_px, height=height_px)
        if not _asked(device, v4l2.ENUM_FRAMEINTERVALS, interval):
            break
        if interval.shortest.numerator:
            most = max(most or 0.0, interval.shortest.denominator / interval.shortest.numerator)
        if interval.type != v4l2.DISCRETE:
            break
    return most


def _asked(device: Device, request: int, entry: Any) -> bool:
    try:
        device.ioctl(request, entry)
    except OSError as err:
        if err.errno in (errno.EINVAL, errno.ENOTTY):  # the list ends here; drivers may have none
            return False
        raise
    return True
