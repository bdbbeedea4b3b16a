"""The other side of mock pins."""

from __future__ import annotations

import pytest

from edge_node.devices.pins import ButtonSpec, LedSpec, RelaySpec, Wiring
from edge_node.devices.world import PanelWorld
from edge_node.errors import UsageError
from tests.support.waiting import eventually

WIRING = Wiring(
    [ButtonSpec("call", "GPIO17"), ButtonSpec("exit", "GPIO4", "down")],
    [LedSpec("status", "GPIO27")],
    [RelaySpec("door", "GPIO22", active_high=False)],
)


async def test_fingers() -> None:
    world = PanelWorld(WIRING)
    seen: list[tuple[str, str, bool]] = []
    stop = world.on_change(lambda kind, name, state: seen.append((kind, name, state)))
    for button in ("call", "exit"):
        assert not world.button(button)
        world.hold(button)
        world.hold(button)
        assert world.button(button)
        world.release(button)
        assert not world.button(button)
    assert seen == [
        ("button", "call", True),
        ("button", "call", False),
        ("button", "exit", True),
        ("button", "exit", False),
    ]
    stop()
    world.press("call", hold_s=0)
    world.press("call", hold_s=0.01)
    await eventually(lambda: not world.button("call"))
    assert len(seen) == 4


def test_outputs_that_nobody_drives() -> None:
    world = PanelWorld(WIRING)
    assert not world.led("status")
    assert not world.relay("door")


def test_a_low_pin_energises_this_relay() -> None:
    world = PanelWorld(WIRING)
    pin = world.factory.pin("GPIO22")
    pin.function = "output"
    pin.state = True
    assert not world.relay("door")
    pin.state = False
    assert world.relay("door")


def test_pins_of_nobody() -> None:
    world = PanelWorld(WIRING)
    world.factory.pin("GPIO5").drive_high()


def test_unknown_names() -> None:
    world = PanelWorld(WIRING)
    with pytest.raises(UsageError, match="there is no button 'cal': use one of call, exit"):
        world.press("cal")
    with pytest.raises(UsageError):
        world.led("door")
