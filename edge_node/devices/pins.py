"""What is wired to which pin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from edge_node.errors import SettingsError

MAX_PIN = 27  # GPIO0 to GPIO27 are on the 40-pin header of every Raspberry Pi
FIXED_PULL_UP = ("GPIO2", "GPIO3")  # 1.8 kΩ to 3.3 V on the board, for I2C
_PIN = re.compile(r"GPIO(\d{1,2})")


@dataclass(frozen=True, slots=True)
class ButtonSpec:
    """A push button; with `pull` up it connects its pin to ground, with `pull` down to 3.3 V."""

    name: str
    pin: str
    pull: Literal["up", "down"] = "up"


@dataclass(frozen=True, slots=True)
class LedSpec:
    name: str
    pin: str
    active_high: bool = True


@dataclass(frozen=True, slots=True)
class RelaySpec:
    """A relay; `active_high` is false for modules that are energised by a low pin."""

    name: str
    pin: str
    active_high: bool = True


@dataclass(frozen=True, slots=True)
class Wiring:
    """Everything on the pins of one board. Raises SettingsError for bad pins, shared pins and shared names."""

    buttons: Sequence[ButtonSpec] = ()
    leds: Sequence[LedSpec] = ()
    relays: Sequence[RelaySpec] = ()

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise SettingsError(problems)

    def _problems(self) -> Iterator[str]:
        owners: dict[str, str] = {}
        named: set[str] = set()
        for kind, specs in (("button", self.buttons), ("led", self.leds), ("relay", self.relays)):
            for spec in specs:
                owner = f"{kind} {spec.name!r}"
                if owner in named:
                    yield f"two parts are called {owner}: give each its own name"
                named.add(owner)
                if not is_pin(spec.pin):
                    yield f"{owner}: {spec.pin!r} is no pin: use GPIO0 to GPIO{MAX_PIN}"
                elif spec.pin in owners:
                    yield f"{owners[spec.pin]} and {owner} both want {spec.pin}: give each its own pin"
                owners.setdefault(spec.pin, owner)
                if spec.pin in FIXED_PULL_UP and (problem := _pulled_up(spec)):
                    yield f"{owner}: {spec.pin} {problem}: use another pin"


def _pulled_up(spec: ButtonSpec | LedSpec | RelaySpec) -> str | None:
    match spec:
        case ButtonSpec(pull="down"):
            return "has a pull-up resistor on the board, so this button would never be seen"
        case RelaySpec(active_high=True):
            return "is high whenever the node does not run, which would energise this relay"
        case _:
            return None


def is_pin(name: str) -> bool:
    """True for GPIO0 to GPIO27, in the one spelling that makes equal pins equal."""
    found = _PIN.fullmatch(name)
    return found is not None and int(found[1]) <= MAX_PIN and name == f"GPIO{int(found[1])}"
