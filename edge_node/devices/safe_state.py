"""Releases every relay of the settings, for when the node is not there to do it.

`python -m edge_node.devices.safe_state SETTINGS` runs before the node starts, and after it ended however it did: the
Raspberry Pi's kernel leaves an output as it was when its program dies (raspberrypi/linux#6117). Only the standard
library, and little of it: it has to be through in a fraction of a second on the smallest board.
"""

from __future__ import annotations

import errno
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edge_node.devices.gpiochip import Chip, chips, drive, header_chip

CONSUMER = "edge-node safe state"
HEADER_PINS = 28


class Relay(NamedTuple):
    """One `[[gpio.relay]]`: its line on the header's chip, the level that releases it."""

    name: str
    line: int
    released_high: bool


class Pins(NamedTuple):
    """This machine's pins; tests put their own in place."""

    chips: Callable[[], Sequence[Chip]] = chips
    drive: Callable[[Path, int, bool, str], None] = drive


def relays(settings: Any) -> list[Relay]:
    """What the settings say, as far as they can be understood: a mistake in one relay does not hold up the others."""
    gpio = settings.get("gpio") if isinstance(settings, dict) else None
    gpio = gpio if isinstance(gpio, dict) else {}
    if gpio.get("driver") in ("mock", "none"):
        return []
    listed = gpio.get("relay")
    return [relay for entry in (listed if isinstance(listed, list) else ()) if (relay := _relay(entry)) is not None]


def _relay(entry: Any) -> Relay | None:
    if not isinstance(entry, dict):
        return None
    digits = str(entry.get("pin", "")).removeprefix("GPIO")
    # isdecimal() takes other scripts' digits, too; int() reads them right.
    if not digits.isdecimal() or int(digits) >= HEADER_PINS:
        return None
    return Relay(str(entry.get("name", digits)), int(digits), entry.get("active_high") is False)


def release(found: Sequence[Relay], pins: Pins) -> list[str]:
    """Releases them; a sentence for each, and one for what is missing."""
    chip = header_chip(pins.chips())
    if chip is None:
        names = ", ".join(relay.name for relay in found)
        return [f"no pins of a Raspberry Pi can be opened, so nothing was done for {names}"]
    said = []
    for relay in found:
        try:
            pins.drive(chip.path, relay.line, relay.released_high, CONSUMER)
            level = "high" if relay.released_high else "low"
            said.append(f"relay {relay.name} is released (GPIO{relay.line} {level})")
        except OSError as err:
            why = "another program holds its pin" if err.errno == errno.EBUSY else err.strerror
            said.append(f"relay {relay.name} could NOT be released (GPIO{relay.line}: {why})")
    return said


def main(argv: Sequence[str], pins: Pins | None = None) -> int:
    """0: every relay is released, or there is none; 1: not; 2: wrong usage."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m edge_node.devices.safe_state SETTINGS\n")
        return 2
    try:
        with open(argv[0], "rb") as file:
            found = relays(tomllib.load(file))
    except (OSError, ValueError) as err:
        sys.stderr.write(f"safe state: {argv[0]} cannot be read, so no relay is known: {err}\n")
        return 1
    if not found:
        return 0
    said = release(found, pins or Pins())
    for sentence in said:
        sys.stdout.write(f"safe state: {sentence}\n")
    return 0 if all("is released" in sentence for sentence in said) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
