"""What every panel promises: mock pins always, the pins of this board with --hardware.

On a board: an LED on GPIO27, a relay (or a second LED) on GPIO22, a button on GPIO17, nothing else needed. Two tests
play both sides, the finger and the eye, with wires: GPIO23 to GPIO24 (what the one does, the other sees), GPIO25 to
GPIO16. Without the wires they are skipped. A finger is asked for with EDGE_NODE_FINGER=yes and -s.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Literal

import pytest

from edge_node.devices.panel import GpioPanel
from edge_node.devices.patterns import PATTERNS
from edge_node.devices.pins import ButtonSpec, InputSpec, LedSpec, RelaySpec, Wiring
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


class Time:
    """The clock of a panel on mock pins: a finger's seconds do not depend on how busy this machine is."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Finger:
    """Presses a button of mock pins, waits a moment after it."""

    def __init__(self, panel: GpioPanel, time: Time) -> None:
        self._panel = panel
        self._time = time

    async def press(self, seconds: float) -> None:
        self._panel.world.hold("call")
        await self._wait(seconds)
        self._panel.world.release("call")
        await self._wait(0.1)

    async def _wait(self, seconds: float) -> None:
        self._time.now += seconds
        await asyncio.sleep(0)


class WiredFinger(Finger):
    """GPIO23 pulls GPIO24 to ground; otherwise it is an input, as a button that nobody touches."""

    def __init__(self, panel: GpioPanel, time: Time) -> None:
        super().__init__(panel, time)
        from edge_node.devices.factory import open_board

        self._pin: Any = open_board().pin("GPIO23")
        self._pin.function = "input"

    async def press(self, seconds: float) -> None:
        self._pin.output_with_state(False)
        await asyncio.sleep(seconds)
        self._pin.function = "input"
        await asyncio.sleep(0.1)


@asynccontextmanager
async def told(panel: GpioPanel) -> AsyncIterator[list[str]]:
    reports: list[str] = []
    task = asyncio.create_task(panel.run(reports.append))
    await asyncio.sleep(0)
    assert not task.done(), task
    yield reports
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture(params=["mock", pytest.param("lgpio", marks=pytest.mark.hardware)])
def driver(request: pytest.FixtureRequest) -> Literal["mock", "lgpio"]:
    found: Literal["mock", "lgpio"] = request.param
    return found


async def a_finger(panel: GpioPanel, driver: str, reports: list[str], time: Time) -> Finger:
    if driver == "mock":
        return Finger(panel, time)
    finger = WiredFinger(panel, time)
    await finger.press(0.1)
    try:
        async with asyncio.timeout(3):
            while not reports:  # noqa: ASYNC110  (gpiozero's thread appends)
                await asyncio.sleep(0.01)
    except TimeoutError:
        pytest.skip("no wire from GPIO23 to GPIO24")
    reports.clear()
    return finger


async def test_short_long_and_double_presses(driver: Literal["mock", "lgpio"]) -> None:
    button = ButtonSpec("call", "GPIO24", long_ms=600, double_ms=1000)
    clock = Time()
    panel = GpioPanel(Wiring([button]), driver, clock=clock if driver == "mock" else time.monotonic)
    async with told(panel) as reports:
        finger = await a_finger(panel, driver, reports, clock)
        await finger.press(0.1)
        clock.now += 2
        await eventually(lambda: reports == ["call"])
        await finger.press(1.0)
        clock.now += 2
        await eventually(lambda: reports == ["call", "call:long"])
        await finger.press(0.1)
        await finger.press(0.1)
        await eventually(lambda: reports == ["call", "call:long", "call:double"])


async def test_a_contact_tells_its_position(driver: Literal["mock", "lgpio"]) -> None:
    """On a board nothing is connected to GPIO24, or the wire to GPIO23, which is an input then: it is open."""
    panel = GpioPanel(Wiring(inputs=[InputSpec("case", "GPIO24", when="closed")]), driver)
    async with told(panel) as reports:
        await eventually(lambda: reports == ["case:off"])


async def test_dimmed_and_coloured_lights_and_a_relay_that_a_low_pin_energises(
    driver: Literal["mock", "lgpio"],
) -> None:
    """The wire from GPIO25 shows on GPIO16 what really leaves a pin: about as much light as was asked for."""
    leds = [LedSpec("dim", "GPIO25", brightness=0.25), LedSpec("rgb", "GPIO5", more=("GPIO6", "GPIO26"))]
    relay = RelaySpec("low", "GPIO22", active_high=False)
    panel = GpioPanel(Wiring(leds=leds, relays=[relay]), driver)
    async with told(panel):
        panel.show("dim", "on")
        panel.show("rgb", "blink#ff8000")
        panel.pulse("low", 50)
        await eventually(lambda: not panel.energised("low"))
        if driver == "mock":
            await eventually(lambda: panel.world.levels("dim") == (0.25,))
            return
        share = await asyncio.to_thread(share_of_high, "GPIO16", 2.0)
        if share == 0:
            pytest.skip("no wire from GPIO25 to GPIO16")
        assert 0.15 <= share <= 0.35


def share_of_high(name: str, seconds: float) -> float:
    """How much of the time a pin is high."""
    from edge_node.devices.factory import open_board

    pin: Any = open_board().pin(name)
    pin.function = "input"
    high = looks = 0
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        high += bool(pin.state)
        looks += 1
    return high / looks


@pytest.mark.hardware
@pytest.mark.skipif(os.environ.get("EDGE_NODE_FINGER") != "yes", reason="asks for a finger: EDGE_NODE_FINGER=yes, -s")
async def test_a_real_button() -> None:
    panel = GpioPanel(WIRING, "lgpio")
    presses: list[str] = []
    task = asyncio.create_task(panel.run(presses.append))
    print("\npress the button on GPIO17 three times, slowly, within 20 s …", flush=True)
    await asyncio.sleep(20)
    task.cancel()
    await asyncio.wait([task])
    assert presses == ["call"] * 3


@pytest.mark.hardware
def test_a_relay_is_released_by_the_safe_state(tmp_path: Any) -> None:
    """The pin is left energised, as a killed node leaves it; then the program that systemd starts.

    Nothing is connected: GPIO12 is a pin that no other test has taken in this process.
    """
    import subprocess
    import sys

    from edge_node.devices.gpiochip import chips, drive, header_chip

    chip = header_chip(chips())
    assert chip is not None
    drive(chip.path, 12, True, "test")
    settings = tmp_path / "edge-node.toml"
    settings.write_text('[[gpio.relay]]\nname = "door"\npin = "GPIO12"\n')
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-S", "-m", "edge_node.devices.safe_state", settings],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "relay door is released (GPIO12 low)" in done.stdout
    assert time.monotonic() - began < 1.0
