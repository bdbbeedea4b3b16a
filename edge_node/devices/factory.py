"""Opening the pins of this machine through gpiozero."""

from __future__ import annotations

import importlib.util
import os
import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

from edge_node.devices.gpiochip import HEADER_LABELS, Chip, chips, header_chip
from edge_node.errors import DeviceMissing

Driver = Literal["auto", "lgpio", "mock", "none"]


def open_board(dev: Path = Path("/dev"), find: Callable[[Path], list[Chip]] = chips) -> Any:
    """The gpiozero pin factory of this board's 40-pin header. Raises DeviceMissing."""
    if not list(dev.glob("gpiochip*")):
        raise DeviceMissing('this machine has no GPIO pins (no /dev/gpiochip*): set gpio.driver to "none" or "mock"')
    if importlib.util.find_spec("lgpio") is None:
        raise DeviceMissing("the lgpio library is missing: run sudo apt install python3-lgpio")
    number = chip_number(find(dev))
    try:
        return _lgpio_factory(number)
    except Exception as err:  # lgpio.error is a bare Exception; the library also raises OSError and RuntimeError
        raise DeviceMissing(
            f"the GPIO pins cannot be opened ({err}): check that this is a Raspberry Pi, the user in group gpio"
        ) from err


def chip_number(found: list[Chip]) -> int:
    """Which /dev/gpiochipN the header is: 0 or 4 on a Pi 5, as the kernel likes. Raises DeviceMissing."""
    chip = header_chip(found)
    number = re.search(r"\d+$", chip.path.name) if chip else None
    if number is None:
        seen = ", ".join(f"{chip.path.name} is {chip.label}" for chip in found) or "none may be opened"
        raise DeviceMissing(
            f"no GPIO chip is that of a Raspberry Pi's header, {' or '.join(HEADER_LABELS)} ({seen}): "
            'check that the user is in group gpio, or set gpio.driver to "none"'
        )
    return int(number[0])


@cache
def _lgpio_factory(chip: int) -> Any:
    """The one factory of this process, never closed: a second one after close() sees no edges (lgpio 0.2.2)."""
    lgpio = _import_lgpio()
    from gpiozero.pins.lgpio import LGPIOFactory, LGPIOPin

    class Pin(LGPIOPin):  # type: ignore[misc]  # gpiozero has no types
        def output_with_state(self, state: Any) -> None:
            """In one step: gpiozero's two would energise a relay that a low pin energises, for a moment."""
            lgpio.gpio_claim_output(self.factory._handle, self._number, bool(state))

    factory = LGPIOFactory(chip)
    factory.pin_class = Pin
    return factory


def _import_lgpio() -> Any:
    """Imports lgpio, which makes a FIFO in its working folder, fails where it cannot, and moves the process there."""
    folder = Path.cwd()
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]  # systemd.exec(5): several are joined by colons
    os.environ.setdefault("LG_WD", runtime or tempfile.gettempdir())
    try:
        return importlib.import_module("lgpio")
    finally:
        os.chdir(folder)
