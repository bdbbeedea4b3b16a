"""The kernel's GPIO character devices, by the standard library alone (Documentation/userspace-api/gpio/chardev.rst)."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

# linux/gpio.h; tests/devices/test_gpiochip.py compares all of these with the header where there is one.
GET_CHIPINFO = 0x8044B401
V2_GET_LINE = 0xC250B407
V2_FLAG_OUTPUT = 1 << 3
V2_ATTR_OUTPUT_VALUES = 2
CHIP_INFO = struct.Struct("32s32sI")
# gpio_v2_line_request: offsets[64], consumer[32]; gpio_v2_line_config: flags, num_attrs, padding[5], attrs[10] of
# {id, padding, value, mask}; num_lines, event_buffer_size, padding[5], fd. This fills the first attribute only.
LINE_REQUEST = struct.Struct("=64I32s QI20x IIQQ 216x II20xi")

HEADER_LABELS = ("pinctrl-rp1", "pinctrl-bcm2711", "pinctrl-bcm2835")
"""Drivers of the 40-pin header: Pi 5, Pi 4, and all before. The number of the chip differs between kernels."""


class Chip(NamedTuple):
    """A named tuple, as importing dataclasses doubles the time that safe_state takes to start."""

    path: Path
    label: str
    lines: int


def read_chip(path: Path) -> Chip | None:
    """Asks the kernel; moves no pin. None when the device cannot be opened."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        answer = fcntl.ioctl(fd, GET_CHIPINFO, bytes(CHIP_INFO.size))
    except OSError:
        return None
    finally:
        os.close(fd)
    _, label, lines = CHIP_INFO.unpack(answer)
    return Chip(path, label.rstrip(b"\0").decode(errors="replace"), lines)


def chips(dev: Path = Path("/dev"), read: Callable[[Path], Chip | None] = read_chip) -> list[Chip]:
    """Every chip that can be opened, each once: Raspberry Pi OS adds gpiochip4 as another name of gpiochip0."""
    paths = sorted({path.resolve() for path in dev.glob("gpiochip*")})
    return [chip for path in paths if (chip := read(path)) is not None]


def header_chip(found: Iterable[Chip]) -> Chip | None:
    """The chip whose lines are the pins of the 40-pin header, by its label."""
    known = [chip for chip in found if chip.label in HEADER_LABELS]
    return min(known, key=lambda chip: HEADER_LABELS.index(chip.label), default=None)


def drive(path: Path, line: int, high: bool, consumer: str) -> None:
    """Makes a line an output at this level, lets go of it. Raises OSError: EBUSY while a program holds it."""
    request = LINE_REQUEST.pack(
        *(line if index == 0 else 0 for index in range(64)),
        consumer.encode()[:31],
        V2_FLAG_OUTPUT,
        1,
        V2_ATTR_OUTPUT_VALUES,
        0,
        int(high),
        1,  # the mask: this value is of the first line
        1,
        0,
        0,
    )
    chip = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(chip, V2_GET_LINE, request)
    finally:
        os.close(chip)
    os.close(LINE_REQUEST.unpack(answer)[-1])
