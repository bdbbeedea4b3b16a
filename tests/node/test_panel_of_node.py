"""What fingers, a switch and a screwdriver do to a whole node."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_node.aio.clock import SystemClock
from edge_node.devices.panel import GpioPanel
from edge_node.devices.world import PanelWorld
from edge_node.errors import RetryLater, UsageError
from edge_node.host.probes import LinuxProbe
from edge_node.node.build import assemble
from edge_node.node.machinery import Devices, wiring
from edge_node.node.node import Node
from edge_node.settings import from_dict
from tests.support.door_node import SETTINGS, no_network
from tests.support.waiting import eventually

GPIO: dict[str, Any] = {
    "driver": "mock",
    "button": [
        {
            "name": "call",
            "pin": "GPIO17",
            "long_action": "mute",
            "double_action": "open:door",
            "long_ms": 300,
            "double_ms": 200,
        }
    ],
    "switch": [{"name": "shutter", "pin": "GPIO5"}],
    "input": [
        {"name": "case", "pin": "GPIO6", "kind": "tamper"},
        {"name": "dusk", "pin": "GPIO16", "kind": "light"},
    ],
    "led": [
        {"name": "status", "pins": ["GPIO13", "GPIO19", "GPIO26"]},
        {"name": "privacy", "pin": "GPIO24", "brightness": 0.5},
        {"name": "lamp", "pin": "GPIO25"},
    ],
    "relay": [
        {"name": "door", "pin": "GPIO22", "pulse_ms": 50},
        {"name": "siren", "pin": "GPIO23", "pulse_ms": 50, "door": False, "active_high": False},
    ],
}
MORE: dict[str, Any] = {
    "video": {"source": "none"},
    "audio": {"microphone": "none", "speaker": "none"},
    "daylight": {"enabled": True, "led": "lamp"},
    "rule": [{"on": "input", "match": {"kind": "tamper", "state": "on"}, "do": "relay:siren=pulse"}],
}


class Fingers:
    """The panel's clock: how long a press is does not depend on how fast this machine is."""

    now = 100.0


FINGERS = Fingers()


@asynccontextmanager
async def a_door(
    state_dir: Path, closed: tuple[str, ...] = (), opened: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Node, PanelWorld]]:
    """`closed` and `opened`: contacts when the node starts."""
    settings = from_dict({**SETTINGS, **MORE, "gpio": GPIO})
    panel = GpioPanel(wiring(settings), "mock", clock=lambda: FINGERS.now)
    for name in closed:
        panel.world.close_contact(name)
    for name in opened:
        panel.world.open_contact(name)
    devices = Devices(None, None, None, panel, LinuxProbe(), no_network, state_dir)
    node = assemble(settings, devices, SystemClock())
    await node.start()
    try:
        await eventually(lambda: node.status()["parts"]["panel"]["state"] == "up")
        yield node, panel.world
    finally:
        await node.stop()


async def test_one_button_three_actions(tmp_path: Path) -> None:
    async with a_door(tmp_path) as (node, world):
        opened: list[bool] = []
        world.on_change(lambda kind, name, on: opened.append(on) if (kind, name) == ("relay", "door") else None)
        world.hold("call")
        FINGERS.now += 1
        await eventually(lambda: node.private)
        world.release("call")
        assert not node.in_call
        FINGERS.now += 1
        for _ in range(2):
            world.hold("call")
            FINGERS.now += 0.05
            world.release("call")
            FINGERS.now += 0.05
        await eventually(lambda: opened == [True, False])
        assert not node.in_call
        node.press("call")
        await eventually(lambda: node.in_call)
        node.press("call:long")
        await eventually(lambda: not node.private)


async def test_the_switch_wins_over_everything_else(tmp_path: Path) -> None:
    async with a_door(tmp_path) as (node, world):
        assert not node.private
        assert not world.led("privacy")
        world.close_contact("shutter")
        await eventually(lambda: node.private and world.levels("privacy") == (0.5,))
        with pytest.raises(UsageError, match="turn it first"):
            await node.set_privacy(False)
        node.press("call:long")
        world.open_contact("shutter")
        await eventually(lambda: not node.private and not world.led("privacy"))
    async with a_door(tmp_path, closed=("shutter",)) as (node, world):
        await eventually(lambda: node.intercom.view.held)


async def test_a_screwdriver_at_the_case(tmp_path: Path) -> None:
    async with a_door(tmp_path) as (node, world):
        events: list[tuple[str, bool]] = []
        world.on_change(lambda kind, name, on: events.append((name, on)) if kind == "relay" else None)
        await eventually(lambda: node.status()["parts"]["tamper"]["state"] == "up")
        world.open_contact("case")
        await eventually(lambda: any("case is open" in text for text in node.status()["degraded"]))
        await eventually(lambda: events == [("siren", True), ("siren", False)])
        with pytest.raises(RetryLater, match="doors stay shut"):
            await node.open_door("door")
        node.press("call:double")
        world.close_contact("case")
        await eventually(lambda: str(node.tamper.described()).startswith("the case was opened"))
        assert ("door", True) not in events
    async with a_door(tmp_path) as (node, world):
        events = []
        world.on_change(lambda kind, name, on: events.append((name, on)) if kind == "relay" else None)
        assert str(node.tamper.described()).startswith("the case was opened")
        assert node.tamper.clear() == "doors open again"
        await node.open_door("door")
        await eventually(lambda: events == [("door", True), ("door", False)])


async def test_dusk_and_the_colours_of_the_state(tmp_path: Path) -> None:
    async with a_door(tmp_path) as (node, world):
        assert not world.led("lamp")
        await eventually(lambda: world.levels("status") == (1.0, 0.0, 0.0))  # offline
        assert node.outputs.shown("status") == "blink#ff0000"
    async with a_door(tmp_path, opened=("dusk",)) as (node, world):
        await eventually(lambda: world.led("lamp"))
