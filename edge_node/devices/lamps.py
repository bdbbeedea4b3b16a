"""One light on its pins."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gpiozero import DigitalOutputDevice, PWMOutputDevice

from edge_node.devices.lights import Shade
from edge_node.devices.patterns import colour
from edge_node.devices.pins import LedSpec

PWM_HZ = 200
"""Faster than eyes see, slow enough for lgpio, which switches the pin from a thread."""


class Lamp:
    """Lights and darkens; a plain light at full brightness is switched, any other one is dimmed by PWM.

    `take` is called with a function that opens a gpiozero device, and gives that device.
    """

    def __init__(self, spec: LedSpec, factory: Any, take: Callable[[Callable[[], Any]], Any]) -> None:
        self._own = colour(spec.colour) if spec.more else (1.0,)
        self._brightness = spec.brightness
        self._rgb = bool(spec.more)
        kind = DigitalOutputDevice
        how: dict[str, Any] = {"active_high": spec.active_high, "pin_factory": factory}
        if self._rgb or spec.brightness < 1:
            kind = PWMOutputDevice
            how["frequency"] = PWM_HZ
        self._pins = [take(partial(kind, pin, **how)) for pin in spec.pins]

    def write(self, shade: Shade) -> None:
        """Raises whatever the pins raise."""
        parts = (shade.colour or self._own) if self._rgb else self._own
        for device, part in zip(self._pins, parts, strict=True):
            device.value = part * self._brightness if shade.lit else 0

    def off(self) -> None:
        self.write(Shade(False))
