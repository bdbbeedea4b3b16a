"""Sets the camera to day or night."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from edge_node.encode_plan.daylight import Daylight, DaylightRule, Light
from edge_node.ports import Clock

log = logging.getLogger(__name__)


class LightKeeper:
    """Takes readings of brightness, sets controls and an output when the light has changed; made on the event loop.

    `rule` is for the brightness of pictures, `lux_rule` for lux(). `set_controls` is None for a camera without
    controls; `switch(night)` moves an output, such as an infrared lamp.
    """

    def __init__(
        self,
        rule: DaylightRule,
        clock: Clock,
        controls: Mapping[Light, Mapping[str, Any]],
        set_controls: Callable[[Mapping[str, Any]], None] | None,
        switch: Callable[[bool], None] = lambda night: None,
        lux_rule: DaylightRule | None = None,
    ) -> None:
        self._by_luma, self._by_lux = Daylight(rule), Daylight(lux_rule or rule)
        self._clock = clock
        self._controls = controls
        self._set_controls = set_controls
        self._switch = switch
        self._loop = asyncio.get_running_loop()
        self._settle_s = rule.settle_s
        self._sensed: Light | None = None
        self._settling: asyncio.TimerHandle | None = None
        self.light = Light.DAY

    def sensor(self, dark: bool) -> None:
        """A light sensor changed, or tells for the first time; from then on it decides, not the pictures."""
        first = self._sensed is None
        self._sensed = Light.NIGHT if dark else Light.DAY
        if self._settling is not None:
            self._settling.cancel()
        self._settling = self._loop.call_later(0 if first else self._settle_s, self._obey_sensor)

    def _obey_sensor(self) -> None:
        if self._sensed is not None and self._sensed is not self.light:
            self._change(self._sensed, "as the light sensor says")

    def luma(self, mean: float) -> None:
        """A reading, 0 to 255; from any thread."""
        self._later(self._by_luma, mean, "brightness {:.0f} of 255")

    def lux(self, lux: float) -> None:
        """A reading of a camera that tells no pictures but how light it is; from any thread."""
        self._later(self._by_lux, lux, "{:.1f} lux")

    def _later(self, daylight: Daylight, reading: float, words: str) -> None:
        try:
            self._loop.call_soon_threadsafe(self._see, daylight, reading, words)
        except RuntimeError:  # the loop is closed: nobody is left to look
            return

    def _see(self, daylight: Daylight, reading: float, words: str) -> None:
        if self._sensed is not None:
            return
        light = daylight.see(reading, self._clock.monotonic())
        if light is not None:
            self._change(light, words.format(reading))

    def _change(self, light: Light, why: str) -> None:
        self.light = light
        log.info("the camera goes over to %s (%s)", light, why)
        self._switch(light is Light.NIGHT)
        controls = self._controls[light]
        if self._set_controls is None or not controls:
            return
        try:
            self._set_controls(controls)
        except Exception as err:  # libcamera refuses what it does not know with several kinds of exception
            log.warning("the camera refuses %s (%s): check [daylight] in the settings", dict(controls), err)
