"""Opening the pins of this machine through gpiozero."""

from __future__ import annotations

import importlib.util
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Literal

from edge_node.errors import DeviceMissing

Driver = Literal["auto", "lgpio", "mock", "none"]


def open_board(dev: Path = Path("/dev")) -> Any:
    """The gpiozero pin factory of this board. Raises DeviceMissing."""
    if not list(dev.glob("gpiochip*")):
        raise DeviceMissing('this machine has no GPIO pins (no /dev/gpiochip*): set gpio.driver to "none" or "mock"')
    if importlib.util.find_spec("lgpio") is None:
        raise DeviceMissing("the lgpio library is missing: install edge-node with its extra `pi`")
    try:
        return _lgpio_factory()
    except Exception as err:  # lgpio.error is a bare Exception; the library also raises OSError and RuntimeError
        raise DeviceMissing(
            f"the GPIO pins cannot be opened ({err}): check that this is a Raspberry Pi, the user in group gpio"
        ) from err


@cache
def _lgpio_factory() -> Any:
    """The one factory of this process, never closed: a second one after close() sees no edges (lgpio 0.2.2)."""
    _import_lgpio()
    from gpiozero.pins.lgpio import LGPIOFactory

    return LGPIOFactory()


def _import_lgpio() -> None:
    """Imports lgpio, which makes a FIFO in its working folder, fails where it cannot, and moves the process there."""
    folder = Path.cwd()
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]  # systemd.exec(5): several are joined by colons
    os.environ.setdefault("LG_WD", runtime or tempfile.gettempdir())
    try:
        importlib.import_module("lgpio")
    finally:
        os.chdir(folder)
