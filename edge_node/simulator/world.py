"""The simulated world: what a person standing at the door could do."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from edge_node.aio.tasks import TaskGroup
from edge_node.errors import UsageError
from edge_node.simulator.bus import EventBus
from edge_node.simulator.devices import Switch

log = logging.getLogger(__name__)

HUB_AWAY_S = 2.0
"""A hub that restarts is away this long; it comes back by itself, as the page that could bring it back is gone too."""
PRESSES_S: Mapping[str, Sequence[float]] = {"short": (0.15,), "long": (1.2,), "double": (0.1, 0.1)}
BETWEEN_PRESSES_S = 0.12


class PanelWorld(Protocol):
    """The environment's side of a panel on mock pins."""

    def press(self, button: str, hold_s: float = 0.1) -> None: ...

    def led(self, name: str) -> bool: ...

    def relay(self, name: str) -> bool: ...

    def on_change(self, callback: Callable[[str, str, bool], None]) -> Callable[[], None]: ...


class World:
    """Buttons to press, things to unplug, and what it all looks like; on the event loop."""

    def __init__(self, bus: EventBus) -> None:
        self.bus = bus
        self.camera = Switch()
        self.wifi = Switch()
        self.hub = Switch()
        self.heat = Switch(False)
        self.tone = Switch()
        self._buttons: Sequence[str] = ()
        self._leds: Sequence[str] = ()
        self._relays: Sequence[str] = ()
        self._panel: PanelWorld | None = None
        self._restart_hub: Callable[[float], Awaitable[None]] | None = None
        self._pattern: Callable[[str], str | None] = lambda led: None
        self._tasks = TaskGroup("world")

    @property
    def buttons(self) -> Sequence[str]:
        return self._buttons

    def furnish(self, *, buttons: Sequence[str], leds: Sequence[str], relays: Sequence[str]) -> None:
        """What the panel has, by name."""
        self._buttons, self._leds, self._relays = tuple(buttons), tuple(leds), tuple(relays)

    def connect(
        self,
        panel: PanelWorld,
        restart_hub: Callable[[float], Awaitable[None]],
        pattern: Callable[[str], str | None],
    ) -> None:
        """Joins the world to the node: `pattern(led)` is the name of what a light shows."""
        self._panel = panel
        self._restart_hub = restart_hub
        self._pattern = pattern
        panel.on_change(self._pin_changed)

    async def close(self) -> None:
        await self._tasks.close()

    # What a person can do

    def press(self, button: str, kind: str = "short") -> None:
        """A finger on a button. UsageError for a button or a kind that does not exist."""
        if button not in self._buttons:
            raise UsageError(f"there is no button {button!r}; there are: {', '.join(self._buttons)}")
        if kind not in PRESSES_S:
            raise UsageError(f"there is no press {kind!r}; there are: {', '.join(PRESSES_S)}")
        self._tasks.spawn(self._finger(button, PRESSES_S[kind]), "finger")

    async def _finger(self, button: str, holds_s: Sequence[float]) -> None:
        assert self._panel is not None, "connect() comes first"
        for index, hold_s in enumerate(holds_s):
            if index:
                await asyncio.sleep(BETWEEN_PRESSES_S)
            await asyncio.to_thread(self._panel.press, button, hold_s)

    def change(self, switches: Mapping[str, Any]) -> None:
        """Turns switches: camera, wifi, hub, heat, tone. UsageError for others."""
        known = {"camera": self.camera, "wifi": self.wifi, "hub": self.hub, "heat": self.heat, "tone": self.tone}
        for name, on in switches.items():
            if name not in known or not isinstance(on, bool):
                raise UsageError(f"{name!r} is no switch to set to true or false; there are: {', '.join(known)}")
        for name, on in switches.items():
            if name == "hub":
                if not on and self.hub.on:
                    self._tasks.spawn(self._hub_away(), "hub")
                continue
            known[name].set(on)
        self._tell_switches()

    async def _hub_away(self) -> None:
        assert self._restart_hub is not None, "connect() comes first"
        self.hub.set(False)
        try:
            await self._restart_hub(HUB_AWAY_S)
        finally:
            self.hub.set(True)
            self._tell_switches()

    # What it looks like

    def switches(self) -> dict[str, bool]:
        return {
            "camera": self.camera.on,
            "wifi": self.wifi.on,
            "hub": self.hub.on,
            "heat": self.heat.on,
            "tone": self.tone.on,
        }

    def state(self) -> dict[str, Any]:
        """Everything at once, for a page that has just been opened."""
        panel = self._panel
        leds = [{"name": n, "on": panel.led(n) if panel else False, "pattern": self._pattern(n)} for n in self._leds]
        relays = [{"name": n, "on": panel.relay(n) if panel else False} for n in self._relays]
        return {"buttons": list(self._buttons), "leds": leds, "relays": relays, "world": self.switches()}

    def _tell_switches(self) -> None:
        self.bus.tell("world", **self.switches())

    def _pin_changed(self, kind: str, name: str, on: bool) -> None:
        if kind == "led":
            self.bus.tell_threadsafe("led", name=name, on=on, pattern=self._pattern(name))
        elif kind == "relay":
            self.bus.tell_threadsafe("relay", name=name, on=on)
