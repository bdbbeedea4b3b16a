"""The kernel's GPIO interface, byte by byte."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest

from edge_node.devices import gpiochip
from edge_node.devices.gpiochip import Chip, chips, drive, header_chip, read_chip

HEADER = Path("/usr/include/linux/gpio.h")
SAME_IN_C = r"""
#include <linux/gpio.h>
#include <stddef.h>
#include <stdio.h>
#define CONFIG offsetof(struct gpio_v2_line_request, config)
int main(void) {
  printf("%lu %lu %d %d %zu %zu ", (unsigned long)GPIO_GET_CHIPINFO_IOCTL, (unsigned long)GPIO_V2_GET_LINE_IOCTL,
         (int)GPIO_V2_LINE_FLAG_OUTPUT, GPIO_V2_LINE_ATTR_ID_OUTPUT_VALUES, sizeof(struct gpiochip_info),
         sizeof(struct gpio_v2_line_request));
  printf("%zu %zu %zu %zu %zu\n", CONFIG, CONFIG + offsetof(struct gpio_v2_line_config, attrs),
         CONFIG + offsetof(struct gpio_v2_line_config, attrs) + offsetof(struct gpio_v2_line_config_attribute, mask),
         offsetof(struct gpio_v2_line_request, num_lines), offsetof(struct gpio_v2_line_request, fd));
  return 0;
}
"""


def io_number(direction: int, number: int, size: int) -> int:
    """asm-generic/ioctl.h: direction (read 2, write 1), size, type, number."""
    return direction << 30 | size << 16 | 0xB4 << 8 | number


def test_the_numbers_say_what_is_packed() -> None:
    assert io_number(2, 1, gpiochip.CHIP_INFO.size) == gpiochip.GET_CHIPINFO
    assert io_number(3, 7, gpiochip.LINE_REQUEST.size) == gpiochip.V2_GET_LINE


@pytest.mark.skipif(not HEADER.exists() or shutil.which("gcc") is None, reason="needs gcc and the kernel's header")
def test_the_kernels_own_header_says_the_same(tmp_path: Path) -> None:
    (tmp_path / "same.c").write_text(SAME_IN_C)
    subprocess.run(["gcc", "-o", tmp_path / "same", tmp_path / "same.c"], check=True)
    said = subprocess.run([tmp_path / "same"], check=True, capture_output=True, text=True).stdout.split()
    assert [int(word) for word in said] == [
        gpiochip.GET_CHIPINFO,
        gpiochip.V2_GET_LINE,
        gpiochip.V2_FLAG_OUTPUT,
        gpiochip.V2_ATTR_OUTPUT_VALUES,
        gpiochip.CHIP_INFO.size,
        gpiochip.LINE_REQUEST.size,
        288,  # the offsets that test_a_line_is_driven unpacks at
        320,
        336,
        560,
        588,
    ]


def test_a_line_is_driven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = tmp_path / "gpiochip0"
    chip.touch()
    line_fd = os.open(chip, os.O_RDONLY)
    asked: list[tuple[int, bytes]] = []

    def ioctl(fd: int, number: int, request: bytes) -> bytes:
        asked.append((number, request))
        return request[:588] + struct.pack("=i", line_fd)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    drive(chip, 22, True, "edge-node safe state")
    (number, request) = asked[0]
    assert number == gpiochip.V2_GET_LINE
    assert struct.unpack_from("=2I", request) == (22, 0)
    assert request[256:288].rstrip(b"\0") == b"edge-node safe state"
    assert struct.unpack_from("=QI", request, 288) == (gpiochip.V2_FLAG_OUTPUT, 1)
    assert struct.unpack_from("=IIQQ", request, 320) == (gpiochip.V2_ATTR_OUTPUT_VALUES, 0, 1, 1)
    assert struct.unpack_from("=I", request, 560) == (1,)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(line_fd)


def test_a_chip_tells_its_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chip = tmp_path / "gpiochip0"
    chip.touch()
    info = struct.pack("32s32sI", b"gpiochip0", b"pinctrl-rp1", 54)
    monkeypatch.setattr(fcntl, "ioctl", lambda fd, number, request: info)
    assert read_chip(chip) == Chip(chip, "pinctrl-rp1", 54)


def test_what_is_no_chip(tmp_path: Path) -> None:
    (tmp_path / "gpiochip0").touch()
    assert read_chip(tmp_path / "gpiochip0") is None
    assert read_chip(tmp_path / "gpiochip1") is None
    with pytest.raises(OSError):
        drive(tmp_path / "gpiochip0", 1, True, "test")


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"gpiochip0": "gpio-brcmstb@107d508500", "gpiochip4": "pinctrl-rp1"}, "gpiochip4"),  # Pi 5, first kernels
        ({"gpiochip0": "pinctrl-rp1", "gpiochip10": "gpio-brcmstb@107d508500"}, "gpiochip0"),  # Pi 5, later kernels
        ({"gpiochip0": "pinctrl-bcm2711", "gpiochip1": "raspberrypi-exp-gpio"}, "gpiochip0"),
        ({"gpiochip0": "pinctrl-bcm2835"}, "gpiochip0"),
        ({"gpiochip0": "INT3450:00"}, None),
        ({}, None),
    ],
)
def test_the_headers_chip_is_found_by_its_label(tmp_path: Path, labels: dict[str, str], expected: str | None) -> None:
    for name in labels:
        (tmp_path / name).touch()
    found = header_chip(chips(tmp_path, lambda path: Chip(path, labels[path.name], 54)))
    assert (found.path.name if found else None) == expected


def test_a_second_name_of_a_chip_is_not_a_second_chip(tmp_path: Path) -> None:
    (tmp_path / "gpiochip0").touch()
    (tmp_path / "gpiochip4").symlink_to("gpiochip0")
    assert len(chips(tmp_path, lambda path: Chip(path, "pinctrl-rp1", 54))) == 1
