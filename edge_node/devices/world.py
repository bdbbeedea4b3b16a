"""The other side of mock pins: fingers that press buttons, eyes that watch lights."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from gpiozero.pins.mock import MockFactory, MockPWMPin

from edge_node.devices.pins import ButtonSpec, InputSpec, LedSpec, Spec, Wiring, pins_of
from edge_node.errors import UsageError

OnChange = Callable[[str, str, bool], None]
"""`on_change(kind, name, state)`: kind is button, input, led or relay; state is pressed, on, lit or
energised."""


class _WatchedPin(MockPWMPin):  # type: ignore[misc]  # gpiozero has no types
    grounded = False
    """A closed contact: stronger than any pull-up resistor."""

    def _set_pull(self, value: Any) -> None:
        super()._set_pull(value)
        if self.grounded:
            self.drive_low()

    def _set_frequency(self, value: Any) -> None:
        self._frequency = value  # gpiozero's also drives the pin low, which would energise a relay at its close

    def _set_state(self, value: Any) -> None:
        if self.factory.unplugged:
            raise OSError("the pins are unplugged")
        super()._set_state(value)

    def _change_state(self, value: Any) -> Any:
        changed = super()._change_state(value)
        if changed:
            self.factory.changed(self)
        return changed


class WorldFactory(MockFactory):  # type: ignore[misc]  # gpiozero has no types
    """Mock pins that tell when they change."""

    def __init__(self) -> None:
        self.unplugged = False
        self.changed: Callable[[Any], None] = lambda pin: None
        super().__init__(pin_class=_WatchedPin)


class PanelWorld:
    """The environment of a panel with mock pins; callable from any thread, never waits."""

    def __init__(self, wiring: Wiring) -> None:
        self.factory = WorldFactory()
        self._specs: dict[tuple[str, str], Spec] = {(kind, spec.name): spec for kind, spec in wiring.parts()}
        self._pins = {key: [self.factory.pin(pin) for pin in pins_of(spec)] for key, spec in self._specs.items()}
        self._keys = {id(pin): key for key, pins in self._pins.items() for pin in pins}
        for button in wiring.buttons:
            self._pins["button", button.name][0].pull = button.pull
        for contact in wiring.inputs:
            (pin,) = self._pins["input", contact.name]
            pin.grounded = contact.when == "open"  # at first nothing is wrong: the case is shut, it is day
            pin.pull = "up"
        self._states = {key: self._state(key) for key in self._pins}
        self._callbacks: tuple[OnChange, ...] = ()
        self.factory.changed = self._changed

    def press(self, button: str, hold_s: float = 0.1) -> None:
        """Holds a button down for hold_s seconds, without waiting for its release."""
        self.hold(button)
        if hold_s <= 0:
            self.release(button)
            return
        timer = threading.Timer(hold_s, self.release, (button,))
        timer.daemon = True
        timer.start()

    def hold(self, button: str) -> None:
        """Puts a finger on a button."""
        self._drive(button, down=True)

    def release(self, button: str) -> None:
        """Takes the finger away."""
        self._drive(button, down=False)

    def close_contact(self, name: str) -> None:
        """Connects an input's pin to ground."""
        (pin,) = self._pin(("input", name))
        pin.grounded = True
        pin.drive_low()

    def open_contact(self, name: str) -> None:
        """Leaves an input's pin to its pull-up resistor."""
        (pin,) = self._pin(("input", name))
        pin.grounded = False
        pin.drive_high()

    def unplug(self) -> None:
        """From now on no output obeys."""
        self.factory.unplugged = True

    def plug(self) -> None:
        """Undoes unplug()."""
        self.factory.unplugged = False

    def button(self, name: str) -> bool:
        """True while it is held down."""
        return self._state(("button", name))

    def led(self, name: str) -> bool:
        """True while it is lit."""
        return self._state(("led", name))

    def levels(self, led: str) -> tuple[float, ...]:
        """How bright each pin of a light is, 0 to 1: one value, or red, green and blue."""
        spec, pins = self._specs["led", led], self._pin(("led", led))
        assert isinstance(spec, LedSpec)
        return tuple(float(pin.state if spec.active_high else 1 - pin.state) for pin in pins)

    def relay(self, name: str) -> bool:
        """True while it is energised."""
        return self._state(("relay", name))

    def on_change(self, callback: OnChange) -> Callable[[], None]:
        """Calls back at each change, from whatever thread makes it; gives the function that ends this."""
        self._callbacks = (*self._callbacks, callback)

        def stop() -> None:
            self._callbacks = tuple(c for c in self._callbacks if c is not callback)

        return stop

    def _drive(self, button: str, *, down: bool) -> None:
        (pin,) = self._pin(("button", button))
        spec = self._specs["button", button]
        if down == (isinstance(spec, ButtonSpec) and spec.pull == "up"):
            pin.drive_low()
        else:
            pin.drive_high()

    def _pin(self, key: tuple[str, str]) -> list[Any]:
        if key not in self._pins:
            others = ", ".join(name for kind, name in self._pins if kind == key[0]) or "none"
            raise UsageError(f"there is no {key[0]} {key[1]!r}: use one of {others}")
        return self._pins[key]

    def _state(self, key: tuple[str, str]) -> bool:
        pins = self._pin(key)
        spec = self._specs[key]
        if isinstance(spec, ButtonSpec):
            return bool(pins[0].state) != (spec.pull == "up")
        if isinstance(spec, InputSpec):
            return bool(pins[0].state) == (spec.when == "open")
        # A pin that is no output drives nothing: the relay's own resistor releases it.
        return any(pin.function == "output" and pin.state != (0 if spec.active_high else 1) for pin in pins)

    def _changed(self, pin: Any) -> None:
        key = self._keys.get(id(pin))
        if key is None:
            return
        state = self._state(key)
        if state != self._states[key]:
            self._states[key] = state
            for callback in self._callbacks:
                callback(*key, state)
