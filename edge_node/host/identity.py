"""Which machine this is."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """`model` as the device tree tells it (`Raspberry Pi 4 Model B Rev 1.5`), None elsewhere; `os` for people."""

    model: str | None
    os: str
    kernel: str
    arch: str
    python: str


def read_machine(root: Path = Path("/")) -> Machine:
    """Reads the device tree and os-release(5) below root."""
    return Machine(
        model=board_model(root),
        os=_os_name(root),
        kernel=platform.release(),
        arch=platform.machine(),
        python=platform.python_version(),
    )


def board_model(root: Path = Path("/")) -> str | None:
    """The board's own name; device tree strings end with a NUL."""
    try:
        text = (root / "proc/device-tree/model").read_bytes()
    except OSError:
        return None
    return text.rstrip(b"\0").decode("utf-8", "replace").strip() or None


def _os_name(root: Path) -> str:
    try:
        lines = (root / "etc/os-release").read_text().splitlines()
    except OSError:
        return "Linux"
    found = (line.partition("=")[2].strip().strip("\"'") for line in lines if line.startswith("PRETTY_NAME="))
    return next(found, "Linux")
