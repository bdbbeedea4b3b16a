"""`edge-node simulate`: hub, node, console and world in one process."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_node.aio.clock import SystemClock
from edge_node.call.effects import CallView, Phase
from edge_node.devices.panel import GpioPanel
from edge_node.errors import Bug, RetryLater
from edge_node.host import journal
from edge_node.hub.config import DEFAULT_PORT, hub_config
from edge_node.hub.server import Hub
from edge_node.media.microphone import ToneMicrophone
from edge_node.media.speaker import NullSpeaker
from edge_node.node.build import assemble
from edge_node.node.machinery import Devices, real_devices
from edge_node.node.node import Node
from edge_node.settings import Settings, load
from edge_node.simulator.bus import Event, EventBus
from edge_node.simulator.devices import HeatedProbe, SwitchedCamera, SwitchedMicrophone, SwitchedNetwork
from edge_node.simulator.routes import routes
from edge_node.simulator.world import World

log = logging.getLogger(__name__)

WATCH_EVERY_S = 0.2
STOP_GRACE_S = 2.0

BUILT_IN: Mapping[str, Any] = {
    "node": {"id": "front-door", "name": "Front door"},
    "channel": {"name": "home/front-door"},
    "video": {"source": "test"},
    "gpio": {
        "button": [{"name": "call", "pin": "GPIO17", "action": "call"}],
        "led": [{"name": "status", "pin": "GPIO27"}, {"name": "porch", "pin": "GPIO23"}],
        "relay": [{"name": "door", "pin": "GPIO22", "pulse_ms": 3000}],
    },
    "rule": [
        {"on": "data", "match": {"type": "porch.light", "state": "on"}, "do": "led:porch=on"},
        {"on": "data", "match": {"type": "porch.light", "state": "off"}, "do": "led:porch=off"},
    ],
    "door": {"allow": ["resident-*"]},
    "telemetry": {"interval_s": 2},
}


def main(args: argparse.Namespace) -> int:
    """Until interrupted, or for args.duration seconds."""
    journal.set_up("warning")
    asyncio.run(Simulation(args).run())
    return 0


def settings_for(config: Path | None, url: str, key: str) -> Settings:
    """The user's settings, or the built-in ones, on the embedded hub and on simulated pins. Raises SettingsError."""
    forced = {"channel": {"url": url, "api_key": key}, "gpio": {"driver": "mock"}}
    defaults = {"channel": BUILT_IN["channel"]} if config is not None else BUILT_IN
    return load(config, env={}, defaults=defaults, overrides=forced)


def channels(config: Path | None) -> tuple[str, str]:
    """The node's channel and its telemetry channel, which the hub's console must know."""
    settings = settings_for(config, "ws://127.0.0.1:1", "pk_not_started_yet")
    return settings.channel.name, settings.telemetry.channel


class Simulation:
    """Everything that `simulate` starts, in order, and stops in reverse."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._viewers = 0
        self._end = asyncio.Event()

    async def run(self) -> None:
        """Until SIGINT, SIGTERM or the end of the duration."""
        args = self._args
        channel, telemetry_channel = channels(args.config)
        console = {"channel": channel, "telemetry_channel": telemetry_channel}
        key = f"pk_live_{secrets.token_hex(12)}"
        self.bus = EventBus()
        world = self.world = World(self.bus)
        hub = self.hub = await self._start_hub({"dev_key": key, "console": console})
        settings = settings_for(args.config, hub.url, key)
        node = await self._start_node(settings)
        try:
            self._announce(settings, key)
            await self._live()
        finally:
            await world.close()
            await node.stop()
            await hub.stop(STOP_GRACE_S)

    async def _start_hub(self, config: Mapping[str, Any]) -> Hub:
        """On the port that was asked for; on a free one when nobody asked and the usual one is taken."""
        asked = self._args.port
        for port in (DEFAULT_PORT, 0) if asked is None else (asked,):
            hub = Hub(hub_config({**config, "port": port}), simulator=True)
            hub.add_routes(routes(self.world, hub.check_code))
            try:
                await hub.start()
                return hub
            except RetryLater:
                if port == asked or not port:
                    raise
        raise Bug("no port was tried")

    async def _start_node(self, settings: Settings) -> Node:
        world = self.world
        clock = SystemClock()
        real = real_devices(settings, clock)
        assert isinstance(real.panel, GpioPanel)
        self.speaker = NullSpeaker()
        devices = self._simulated(settings, real)
        self.node = node = assemble(settings, devices, clock)
        gpio = settings.gpio
        world.furnish(
            buttons=[b.name for b in gpio.button],
            leds=[led.name for led in gpio.led],
            relays=[r.name for r in gpio.relay],
        )
        world.connect(real.panel.world, self._restart_hub, node.outputs.shown)
        node.intercom.on_press(self._tell_press)
        node.outputs.on_call(self._call)
        await node.start()
        return node

    def _tell_press(self, report: str) -> None:
        name, _, state = report.rpartition(":")
        if state in ("on", "off"):
            self.bus.tell("input", name=name, state=state)
        else:
            self.bus.tell("press", button=report)

    def _simulated(self, settings: Settings, real: Devices) -> Devices:
        """Real devices where the settings name them; simulated ones where they leave the choice to the machine."""
        world = self.world
        camera = real.camera
        microphone = ToneMicrophone() if settings.audio.microphone == "default" else real.microphone
        return replace(
            real,
            camera=None if camera is None else SwitchedCamera(camera, world.camera),
            microphone=None if microphone is None else SwitchedMicrophone(microphone, world.tone),
            speaker=self.speaker if settings.audio.speaker == "default" else real.speaker,
            echo=None if "default" in (settings.audio.microphone, settings.audio.speaker) else real.echo,
            probe=HeatedProbe(real.probe, world.heat),
            connect=SwitchedNetwork(real.connect, world.wifi),
        )

    async def _restart_hub(self, away_s: float) -> None:
        await self.hub.abort()
        await asyncio.sleep(away_s)
        await self.hub.start()

    # What is told

    def _announce(self, settings: Settings, key: str) -> None:
        if not self._args.json:
            sys.stdout.write(f"console: {self.hub.console_url}\n")
            sys.stdout.write("Open it in a browser: the door's button is in the virtual panel. Ctrl-C ends.\n")
            sys.stdout.flush()
            return
        self.bus.observe(self._print)
        ready = {
            "event": "ready",
            "console": self.hub.console_url,
            "hub": self.hub.url,
            "key": key,
            "channel": settings.channel.name,
            "telemetry_channel": settings.telemetry.channel,
            "node": settings.node.id,
        }
        self._print(ready)

    def _print(self, event: Event) -> None:
        if self._end.is_set():
            return
        try:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # nobody reads any more: that ends a program in a pipe
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - or Python complains again at its own end
            self._end.set()

    def _call(self, view: CallView) -> None:
        reason = view.reason.value if view.reason else None
        if view.phase is Phase.RINGING:
            self.bus.tell("ring", call=view.call)
        self.bus.tell("call", call=view.call, state=view.phase.value, by=view.peer_id, reason=reason)

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        end = self._end
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end.set)
        if self._args.duration:
            loop.call_later(self._args.duration, end.set)
        if self._args.press_after is not None:
            loop.call_later(self._args.press_after, self._press_first)
        try:
            while not end.is_set():
                self._watch()
                try:
                    async with asyncio.timeout(WATCH_EVERY_S):
                        await end.wait()
                except TimeoutError:
                    continue
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    def _press_first(self) -> None:
        buttons = self.world.buttons
        if buttons:
            self.world.press(buttons[0])

    def _watch(self) -> None:
        """Levels and viewers, which nobody announces."""
        viewers = int(self.node.status()["video"]["viewers"])
        if viewers != self._viewers:
            self._viewers = viewers
            self.bus.tell("viewer", viewers=viewers)
        if self.bus.streams:
            self.bus.tell_streams({"event": "speaker", "dbfs": round(max(self.speaker.level_dbfs, -100.0), 1)})
