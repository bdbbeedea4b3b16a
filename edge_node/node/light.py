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

    `set_controls` is None for a camera without controls; `switch(night)` moves an output, such as an infrared lamp.
    """

    def __init__(
        self,
        rule: DaylightRule,
        clock: Clock,
        controls: Mapping[Light, Mapping[str, Any]],
        set_controls: Callable[[Mapping[str, Any]], None] | None,
        switch: Callable[[bool], None] = lambda night: None,
    ) -> None:
        self._daylight = Daylight(rule)
        self._clock = clock
        self._controls = controls
        self._set_controls = set_controls
        self._switch = switch
        self._loop = asyncio.get_running_loop()

    @property
    def light(self) -> Light:
        return self._daylight.light

    def luma(self, mean: float) -> None:
        """A reading, 0 to 255; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._see, mean)
        except RuntimeError:  # the loop is closed: nobody is left to look
            return

    def _see(self, mean: float) -> None:
        light = self._daylight.see(mean, self._clock.monotonic())
        if light is None:
            return
        log.info("the camera goes over to %s (brightness %.0f of 255)", light, mean)
        self._switch(light is Light.NIGHT)
        controls = self._controls[light]
        if self._set_controls is None or not controls:
            return
        try:
            self._set_controls(controls)
        except Exception as err:  # libcamera refuses what it does not know with several kinds of exception
            log.warning("the camera refuses %s (%s): check [daylight] in the settings", dict(controls), err)
