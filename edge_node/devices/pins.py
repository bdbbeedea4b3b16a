"""What is wired to which pin."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edge_node.errors import SettingsError

MAX_PIN = 27  # GPIO0 to GPIO27 are on the 40-pin header of every Raspberry Pi
FIXED_PULL_UP = ("GPIO2", "GPIO3")  # 1.8 kΩ to 3.3 V on the board, for I2C
_PIN = re.compile(r"GPIO(\d{1,2})")


@dataclass(frozen=True, slots=True)
class ButtonSpec:
    """A push button; with `pull` up it connects its pin to ground, with `pull` down to 3.3 V.

    `long_ms` and `double_ms` are set for a button that tells long or double presses apart from short ones.
    """

    name: str
    pin: str
    pull: Literal["up", "down"] = "up"
    long_ms: int | None = None
    double_ms: int | None = None


@dataclass(frozen=True, slots=True)
class LedSpec:
    """A light on one pin, or a red, a green and a blue one on `more` pins; `brightness` 0 to 1.

    `active_high` is false for one that lights when its pin is low, such as an RGB LED with a common anode.
    """

    name: str
    pin: str
    active_high: bool = True
    more: tuple[str, ...] = ()
    brightness: float = 1.0
    colour: str = "#ffffff"

    @property
    def pins(self) -> tuple[str, ...]:
        return (self.pin, *self.more)


@dataclass(frozen=True, slots=True)
class RelaySpec:
    """A relay; `active_high` is false for modules that are energised by a low pin."""

    name: str
    pin: str
    active_high: bool = True


@dataclass(frozen=True, slots=True)
class InputSpec:
    """A contact between a pin and ground whose position counts: it is `on` while it is as `when` says."""

    name: str
    pin: str
    when: Literal["open", "closed"] = "closed"


Spec = ButtonSpec | LedSpec | RelaySpec | InputSpec


@dataclass(frozen=True, slots=True)
class Wiring:
    """Everything on the pins of one board. Raises SettingsError for bad pins, shared pins and shared names.

    `taken`: pins that a sound card needs for itself, with what to call their owner.
    """

    buttons: Sequence[ButtonSpec] = ()
    leds: Sequence[LedSpec] = ()
    relays: Sequence[RelaySpec] = ()
    inputs: Sequence[InputSpec] = ()
    taken: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise SettingsError(problems)

    def parts(self) -> Iterator[tuple[str, Spec]]:
        """(kind, spec) of everything."""
        yield from (("button", spec) for spec in self.buttons)
        yield from (("input", spec) for spec in self.inputs)
        yield from (("led", spec) for spec in self.leds)
        yield from (("relay", spec) for spec in self.relays)

    def apart_from(self, taken: Mapping[str, str]) -> tuple[Wiring, dict[str, str]]:
        """This without the parts that want a pin of `taken`, and for each of them (`relay 'door'`) the reason."""
        why: dict[str, str] = {}
        for kind, spec in self.parts():
            for pin in pins_of(spec):
                if pin in taken:
                    owner = f"{kind} {spec.name!r}"
                    why[owner] = f"{taken[pin]} and {owner} both want {pin}: move {owner} to another pin"
        kept: dict[str, list[Any]] = {"button": [], "input": [], "led": [], "relay": []}
        for kind, spec in self.parts():
            if f"{kind} {spec.name!r}" not in why:
                kept[kind].append(spec)
        return Wiring(kept["button"], kept["led"], kept["relay"], kept["input"], self.taken), why

    def _problems(self) -> Iterator[str]:
        owners: dict[str, str] = {}
        named: set[str] = set()
        for kind, spec in self.parts():
            owner = f"{kind} {spec.name!r}"
            if owner in named:
                yield f"two parts are called {owner}: give each its own name"
            named.add(owner)
            for pin in pins_of(spec):
                if not is_pin(pin):
                    yield f"{owner}: {pin!r} is no pin: use GPIO0 to GPIO{MAX_PIN}"
                elif pin in owners:
                    yield f"{owners[pin]} and {owner} both want {pin}: give each its own pin"
                elif pin in self.taken:
                    yield f"{self.taken[pin]} and {owner} both want {pin}: move {owner} to another pin"
                owners.setdefault(pin, owner)
                if pin in FIXED_PULL_UP and (problem := _pulled_up(spec)):
                    yield f"{owner}: {pin} {problem}: use another pin"


def pins_of(spec: Spec) -> tuple[str, ...]:
    """The pins of a part."""
    return spec.pins if isinstance(spec, LedSpec) else (spec.pin,)


def _pulled_up(spec: Spec) -> str | None:
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
