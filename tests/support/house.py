"""Whole nodes on one hub, with pins to press and loudspeakers to listen at."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edge_node.aio.clock import SystemClock
from edge_node.call.effects import Phase
from edge_node.devices.panel import GpioPanel
from edge_node.devices.world import PanelWorld
from edge_node.dsp.pcm import RATE, Pcm
from edge_node.host.probes import LinuxProbe
from edge_node.hub.server import Hub
from edge_node.media.sound_thread import every_block, in_thread
from edge_node.node.build import assemble
from edge_node.node.machinery import Devices, wiring
from edge_node.node.node import Node
from edge_node.ports import BLOCK_FRAMES, AudioSource
from edge_node.settings import from_dict
from tests.support.interop_media import frequency_hz
from tests.support.peers import token
from tests.support.waiting import eventually

CHANNEL = "home/front-door"


class Loudspeaker:
    """Keeps the last half second of what it plays."""

    label = "test"

    def __init__(self) -> None:
        self._blocks: deque[Pcm] = deque(maxlen=50)

    async def run(self, pull: Callable[[int], Pcm]) -> None:
        await in_thread("speaker", lambda stop: every_block(stop, lambda: self._blocks.append(pull(BLOCK_FRAMES))))

    def plays(self, hz: float) -> bool:
        """Whether that tone is the loudest of all."""
        blocks = list(self._blocks)
        return len(blocks) == 50 and abs(frequency_hz(np.concatenate(blocks), RATE) - hz) < 10

    @property
    def silent(self) -> bool:
        return bool(self._blocks) and all(int(np.abs(block).max(initial=0)) < 100 for block in list(self._blocks))


class Machine:
    """A node, its pins, its loudspeaker."""

    def __init__(self, node: Node, world: PanelWorld, speaker: Loudspeaker) -> None:
        self.node = node
        self.world = world
        self.speaker = speaker

    @property
    def phase(self) -> Phase:
        return self.node.intercom.view.phase


@asynccontextmanager
async def machine(
    hub: Hub, tables: dict[str, Any], microphone: AudioSource, state: Path | None = None
) -> AsyncIterator[Machine]:
    """A node on the hub as who its id says, with these tables of settings."""
    who = tables["node"]["id"]
    settings = from_dict(
        {
            "channel": {"url": hub.url, "name": CHANNEL, "token": token(who)},
            "video": {"source": "none"},
            **tables,
        }
    )
    panel, speaker = GpioPanel(wiring(settings), "mock"), Loudspeaker()
    devices = Devices(None, microphone, speaker, panel, LinuxProbe(), state_dir=state)
    node = assemble(settings, devices, SystemClock())
    await node.start()
    try:
        await eventually(lambda: node.status()["parts"]["panel"]["state"] == "up")
        yield Machine(node, panel.world, speaker)
    finally:
        await node.stop()
