"""The tables of `[gpio]`: what hangs on which pin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from edge_node.settings import checks
from edge_node.settings.problems import Problem, Problems
from edge_node.settings.section import Identifier, Section

Pin = Annotated[str, AfterValidator(checks.pin)]
Action = Annotated[str, AfterValidator(checks.action)]


class ButtonSettings(Section):
    """`[[gpio.button]]`."""

    name: Identifier
    pin: Pin
    action: Action = Field(default="call", description="call, answer, hangup, toggle, mute, wifi or open:DOOR")
    long_action: Action | None = Field(default=None, description="what holding it does; action then waits for release")
    double_action: Action | None = Field(default=None, description="two presses; action then waits for double_ms")
    long_ms: Annotated[int, Field(ge=300, le=30_000)] = 1000
    double_ms: Annotated[int, Field(ge=150, le=2000)] = 400

    def actions(self) -> Iterator[tuple[str, str, str]]:
        """(key of the setting, what the panel reports, action)."""
        yield "action", self.name, self.action
        if self.long_action is not None:
            yield "long_action", f"{self.name}:long", self.long_action
        if self.double_action is not None:
            yield "double_action", f"{self.name}:double", self.double_action


class SwitchSettings(Section):
    """`[[gpio.switch]]`: one that stays in its position, which nothing else can overrule."""

    name: Identifier
    pin: Pin
    action: Literal["mute"] = "mute"
    when: Literal["open", "closed"] = Field(default="closed", description="the contact to ground that means private")


class InputSettings(Section):
    """`[[gpio.input]]`: a contact that tells something."""

    name: Identifier
    pin: Pin
    kind: Literal["tamper", "light"]
    when: Literal["open", "closed"] = Field(
        default="open", description="the contact to ground that means: the case is open, it is dark"
    )


class LedSettings(Section):
    """`[[gpio.led]]`: on one pin, or with three colours on three."""

    name: Identifier
    pin: Pin | None = None
    pins: tuple[Pin, Pin, Pin] | None = Field(default=None, description="red, green and blue instead of pin")
    color: Annotated[str, StringConstraints(pattern="#[0-9a-fA-F]{6}")] | None = Field(
        default=None, description='of one with pins, such as "#ff8000"; default: by what it tells'
    )
    brightness: Annotated[float, Field(gt=0, le=1)] = 1.0
    active_high: bool = Field(default=True, description="false: lights when its pin is low, as with a common anode")

    @property
    def all_pins(self) -> tuple[str, ...]:
        """One pin, or red, green and blue."""
        return self.pins or (() if self.pin is None else (self.pin,))


class RelaySettings(Section):
    """`[[gpio.relay]]`."""

    name: Identifier
    pin: Pin
    active_high: bool = Field(default=True, description="false: the module is energised by a low pin")
    pulse_ms: Annotated[int, Field(ge=50, le=10_000)] = 3000
    door: bool = Field(default=True, description="false: no door but a plain output, which a [[rule]] may pulse")


class GpioSettings(Section):
    """`[gpio]`: buttons, LEDs, relays."""

    driver: Literal["auto", "lgpio", "mock", "none"] = "auto"
    board: Identifier = Field(default="auto", description="a profile under hardware/boards")
    button: tuple[ButtonSettings, ...] = ()
    switch: Annotated[tuple[SwitchSettings, ...], Field(max_length=1)] = ()
    input: tuple[InputSettings, ...] = ()
    led: tuple[LedSettings, ...] = ()
    relay: tuple[RelaySettings, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> GpioSettings:
        return Problems.check(self, [*self._lights(), *self._duplicates()])

    def _lights(self) -> Iterator[Problem]:
        for index, led in enumerate(self.led):
            key = f"gpio.led.{index}"
            if not led.all_pins:
                reason = 'is missing: write pin = "GPIO27", or pins = ["GPIO5", "GPIO6", "GPIO13"] for red, green, blue'
                yield Problem(f"{key}.pin", reason, absent=True)
            if led.pin is not None and led.pins is not None:
                yield Problem(f"{key}.pins", "is given as well as pin: keep one of them")
            if led.color is not None and led.pins is None:
                yield Problem(f"{key}.color", "needs pins for red, green and blue: give those, or leave it out")

    def _duplicates(self) -> Iterator[Problem]:
        names: set[tuple[str, str]] = set()
        pins: dict[str, str] = {}
        for kind in ("button", "switch", "input", "led", "relay"):
            parts: tuple[Section, ...] = getattr(self, kind)
            for index, part in enumerate(parts):
                key, name = f"gpio.{kind}.{index}", str(getattr(part, "name", ""))
                # A switch and an input report by name in the same way.
                group = "input" if kind == "switch" else kind
                if (group, name) in names:
                    yield Problem(f"{key}.name", f'is "{name}", as another {group} is: give each its own name')
                names.add((group, name))
                for pin in part.all_pins if isinstance(part, LedSettings) else (str(getattr(part, "pin", "")),):
                    if pin in pins:
                        reason = f'gives {kind} "{name}" {pin}, which {pins[pin]} has: give each its own pin'
                        yield Problem(f"{key}.pin", reason)
                    pins.setdefault(pin, f'{kind} "{name}"')

    def unknown_doors(self) -> Iterator[Problem]:
        """Buttons that open what no relay here is named for."""
        doors = [relay.name for relay in self.relay if relay.door]
        for index, button in enumerate(self.button):
            for key, _, action in button.actions():
                door = action.removeprefix(checks.OPEN)
                if action != door and door not in doors:
                    reason = f'opens "{door}", but no door has that name{checks.did_you_mean(door, doors)}'
                    where = f"gpio.button.{index}.{key}"
                    yield Problem(where, f"{reason}: add a [[gpio.relay]] for it, or name another", absent=True)

    @property
    def actions(self) -> dict[str, str]:
        """What each report of the panel asks for; a button's own name is its short press."""
        found = {report: action for button in self.button for _, report, action in button.actions()}
        for switch in self.switch:
            found |= {f"{switch.name}:on": "mute:hold", f"{switch.name}:off": "mute:release"}
        return found
