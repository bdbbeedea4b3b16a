"""A whole node on devices whose handles can be seen, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edge_node.aio.clock import SystemClock
from edge_node.devices.panel import GpioPanel
from edge_node.dsp.pcm import Pcm
from edge_node.host.probes import LinuxProbe
from edge_node.media.microphone import ToneMicrophone
from edge_node.media.pattern import PatternSource
from edge_node.node.build import assemble
from edge_node.node.machinery import Devices, wiring
from edge_node.node.node import Node
from edge_node.ports import Demand, VideoSink, VideoSource, WireClosed
from edge_node.settings import Settings, from_dict


@dataclass
class Handles:
    """Which devices are open, as the kernel would know it."""

    open: set[str] = field(default_factory=set)
    opened: int = 0
    stuck: bool = False

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        self.open.add(name)
        self.opened += 1
        try:
            yield
        finally:
            if self.stuck:
                await asyncio.shield(asyncio.Event().wait())
            self.open.discard(name)


class Camera:
    label = "test"
    demand: Demand | None = None

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._source = PatternSource(160, 96, 30, SystemClock())
        self.controls: dict[str, Any] = {}

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        self.controls.update(controls)

    async def run(self, sink: VideoSink) -> None:
        async with self._handles.hold("camera"):
            await self._source.run(sink)


class Microphone:
    label = "test"

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._source = ToneMicrophone()

    async def run(self, sink: Callable[[Pcm], None]) -> None:
        async with self._handles.hold("microphone"):
            await self._source.run(sink)


async def no_network(url: str) -> Any:
    raise WireClosed(1006, "no network in this test")


SETTINGS: dict[str, Any] = {
    "node": {"id": "front-door"},
    "channel": {"url": "ws://127.0.0.1:1", "name": "home/front-door", "api_key": "pk_live_0123456789"},
    "video": {"source": "test", "width_px": 160, "height_px": 96},
    "audio": {"speaker": "none"},
    "gpio": {
        "driver": "mock",
        "button": [{"name": "quiet", "pin": "GPIO5", "action": "mute"}],
        "led": [{"name": "status", "pin": "GPIO27"}],
    },
}


@asynccontextmanager
async def a_node(
    handles: Handles, state_dir: Path | None, more: Mapping[str, Any] | None = None, camera: VideoSource | None = None
) -> AsyncIterator[Node]:
    """`more` replaces tables of the settings, `camera` the test pattern."""
    settings: Settings = from_dict({**SETTINGS, **(more or {})})
    panel = GpioPanel(wiring(settings), "mock")
    camera = camera or Camera(handles)
    devices = Devices(camera, Microphone(handles), None, panel, LinuxProbe(state_dir=None), no_network, state_dir)
    node = assemble(settings, devices, SystemClock())
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


def live(node: Node) -> bool:
    """Whether it sees and hears."""
    status = node.status()
    return bool(status["video"]["state"] == "live" and status["audio"]["mic_level_dbfs"] is not None)
