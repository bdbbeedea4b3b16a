"""What every panel promises: mock pins always, the pins of this board with --hardware.

On a board: an LED on GPIO27, a relay (or a second LED) on GPIO22, a button on GPIO17, nothing else needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

import pytest

from edge_node.devices.panel import GpioPanel
from edge_node.devices.patterns import PATTERNS
from edge_node.devices.pins import ButtonSpec, LedSpec, RelaySpec, Wiring
from edge_node.errors import DeviceLost, UsageError
from edge_node.ports import Panel
from tests.support.waiting import eventually

WIRING = Wiring([ButtonSpec("call", "GPIO17")], [LedSpec("status", "GPIO27")], [RelaySpec("door", "GPIO22")])


@pytest.fixture(params=["mock", pytest.param("lgpio", marks=pytest.mark.hardware)])
def panel(request: pytest.FixtureRequest) -> Panel:
    driver: Literal["mock", "lgpio"] = request.param
    return GpioPanel(WIRING, driver)


def opened(panel: Panel) -> Callable[[], bool]:
    def able() -> bool:
        try:
            panel.pulse("door", 1)
        except DeviceLost:
            return False
        return True

    return able


async def test_it_runs_until_cancelled_again_and_again(panel: Panel) -> None:
    for _ in range(2):
        task = asyncio.create_task(panel.run(lambda button: None))
        await eventually(opened(panel))
        for pattern in PATTERNS:
            panel.show("status", pattern)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(DeviceLost):
            panel.pulse("door", 1)


async def test_a_pulse_ends_by_itself(panel: Panel) -> None:
    task = asyncio.create_task(panel.run(lambda button: None))
    await eventually(opened(panel))
    panel.pulse("door", 50)
    assert isinstance(panel, GpioPanel)
    await eventually(lambda: not panel.energised("door"))
    task.cancel()
    await asyncio.wait([task])


async def test_unknown_names_are_refused(panel: Panel) -> None:
    wrongs: list[Callable[[], None]] = [
        lambda: panel.show("nothing", "on"),
        lambda: panel.show("status", "rainbow"),
        lambda: panel.pulse("nothing", 10),
        lambda: panel.pulse("door", 0),
    ]
    for wrong in wrongs:
        with pytest.raises(UsageError):
            wrong()


async def test_a_pattern_may_be_shown_before_it_runs(panel: Panel) -> None:
    panel.show("status", "on")
    task = asyncio.create_task(panel.run(lambda button: None))
    await eventually(opened(panel))
    task.cancel()
    await asyncio.wait([task])


async def test_presses_arrive_by_name() -> None:
    """With mock pins only: a test has no finger for a real button."""
    panel = GpioPanel(WIRING, "mock")
    presses: list[str] = []
    task = asyncio.create_task(panel.run(presses.append))
    await eventually(opened(panel))
    panel.world.press("call")
    await eventually(lambda: presses == ["call"])
    task.cancel()
    await asyncio.wait([task])
