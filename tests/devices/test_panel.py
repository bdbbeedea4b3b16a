"""The panel over mock pins."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_node.devices.panel import GpioPanel, NullPanel, make_panel
from edge_node.devices.pins import ButtonSpec, InputSpec, LedSpec, RelaySpec, Wiring
from edge_node.errors import DeviceLost, DeviceMissing, UsageError
from tests.support.waiting import eventually

WIRING = Wiring(
    [ButtonSpec("call", "GPIO17"), ButtonSpec("exit", "GPIO4", "down")],
    [LedSpec("status", "GPIO27"), LedSpec("inverse", "GPIO5", active_high=False)],
    [RelaySpec("door", "GPIO22"), RelaySpec("gate", "GPIO23", active_high=False)],
)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def running(panel: GpioPanel) -> AsyncIterator[list[str]]:
    presses: list[str] = []
    panel.show("status", "on")
    task = asyncio.create_task(panel.run(presses.append))
    await eventually(lambda: panel.world.led("status"))
    yield presses
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def mock(clock: Clock | None = None) -> GpioPanel:
    return GpioPanel(WIRING, "mock", clock=clock or Clock())


async def test_presses() -> None:
    clock = Clock()
    panel = mock(clock)
    async with running(panel) as presses:
        for button in ("call", "exit", "call"):
            clock.now += 1
            panel.world.press(button, hold_s=0)
        assert presses == ["call", "exit", "call"]
        panel.world.press("call", hold_s=0)
        assert len(presses) == 3, "a press within the bounce time"
    panel.world.press("call", hold_s=0)
    assert len(presses) == 3


async def test_a_storm_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    panel = mock(clock)
    with caplog.at_level(logging.WARNING):
        async with running(panel) as presses:
            for _ in range(500):
                clock.now += 0.02
                panel.world.hold("call")
                panel.world.release("call")
    assert len(presses) <= 20
    assert [record.message for record in caplog.records] == [
        "button call storms and is ignored until it is calm for 5 s: check its wiring"
    ]


async def test_lights() -> None:
    panel = mock()
    async with running(panel):
        assert not panel.world.led("inverse")
        panel.show("inverse", "on")
        await eventually(lambda: panel.world.led("inverse"))
        panel.show("status", "off")
        await eventually(lambda: not panel.world.led("status"))
    assert not panel.world.led("inverse")


@pytest.mark.parametrize("relay", ["door", "gate"])
async def test_relays(relay: str) -> None:
    panel = mock()
    seen: list[bool] = []
    panel.world.on_change(lambda kind, name, state: seen.append(state) if (kind, name) == ("relay", relay) else None)
    async with running(panel):
        assert seen == []
        panel.pulse(relay, 20)
        await eventually(lambda: seen == [True, False])
        panel.pulse(relay, 9000)
        assert panel.world.relay(relay)
    assert seen == [True, False, True, False]
    assert not panel.world.relay(relay)


async def test_it_runs_again() -> None:
    panel = mock()
    for _ in range(3):
        async with running(panel) as presses:
            panel.world.press("exit", hold_s=0)
            assert presses == ["exit"]
    assert not [t for t in threading.enumerate() if t.name == "lights"]


async def test_no_relay_while_it_does_not_run() -> None:
    panel = mock()
    with pytest.raises(DeviceLost, match="the panel does not run"):
        panel.pulse("door", 100)
    assert not panel.world.relay("door")


async def test_pins_that_stop_obeying() -> None:
    panel = mock()
    task = asyncio.create_task(panel.run(lambda name: None))
    panel.show("status", "on")
    await eventually(lambda: panel.world.led("status"))
    panel.world.unplug()
    panel.show("status", "fast")
    with pytest.raises(DeviceLost, match="stopped obeying"):
        await asyncio.wait_for(task, 30)
    with pytest.raises(DeviceMissing, match=r"GPIO22 of 'door' cannot be opened .*check that no other program"):
        await panel.run(lambda name: None)
    panel.world.plug()
    panel.show("status", "on")
    async with running(panel):
        assert panel.world.led("status")


async def test_a_relay_that_does_not_obey() -> None:
    panel = mock()
    task = asyncio.create_task(panel.run(lambda name: None))
    panel.show("status", "on")
    await eventually(lambda: panel.world.led("status"))
    panel.world.unplug()
    with pytest.raises(DeviceLost, match="relay 'door' does not obey"):
        panel.pulse("door", 10)
    with pytest.raises(DeviceLost, match="stopped obeying"):
        await asyncio.wait_for(task, 30)


async def test_no_board(tmp_path: Path) -> None:
    for driver in ("auto", "lgpio"):
        with pytest.raises(DeviceMissing, match="no GPIO pins"):
            await GpioPanel(WIRING, driver, dev=tmp_path).run(lambda name: None)


def test_only_mock_pins_have_a_world() -> None:
    with pytest.raises(UsageError, match="has a world"):
        _ = GpioPanel(WIRING, "auto").world


async def test_no_panel() -> None:
    panel = make_panel(WIRING, "none")
    assert isinstance(panel, NullPanel)
    panel.show("status", "on")
    with pytest.raises(DeviceMissing, match=r"gpio.driver"):
        panel.pulse("door", 100)
    with pytest.raises(UsageError):
        panel.show("stats", "on")
    with pytest.raises(UsageError):
        panel.pulse("dor", 100)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(panel.run(lambda name: None), 0.01)


def test_the_choice_of_the_driver() -> None:
    assert isinstance(make_panel(WIRING, "mock"), GpioPanel)
    assert isinstance(make_panel(WIRING), GpioPanel)


async def test_long_and_double_presses() -> None:
    clock = Clock()
    button = ButtonSpec("call", "GPIO17", long_ms=100, double_ms=100)
    panel = GpioPanel(Wiring([button], WIRING.leds), "mock", clock=clock)
    async with running(panel) as presses:
        clock.now = 1.0
        panel.world.hold("call")
        clock.now = 1.2
        await eventually(lambda: presses == ["call:long"])
        panel.world.release("call")
        for clock.now in (2.0, 2.1):
            panel.world.hold("call")
            clock.now += 0.04
            panel.world.release("call")
        assert presses == ["call:long", "call:double"]
        clock.now = 5.0
        panel.world.press("call", hold_s=0)
        clock.now = 6.0
        await eventually(lambda: presses == ["call:long", "call:double", "call"])
        clock.now = 9.0
        panel.world.hold("call")
    clock.now = 20.0
    await asyncio.sleep(0)
    assert len(presses) == 3, "a panel that is closed tells nothing"


async def test_the_position_of_a_contact_is_told_at_first_and_at_each_change() -> None:
    inputs = [InputSpec("shutter", "GPIO5"), InputSpec("case", "GPIO6", when="open")]
    panel = GpioPanel(Wiring(leds=[LedSpec("status", "GPIO27")], inputs=inputs), "mock")
    async with running(panel) as told:
        assert told == ["shutter:off", "case:off"]
        panel.world.close_contact("shutter")
        panel.world.open_contact("case")
        panel.world.open_contact("shutter")
        assert told[2:] == ["shutter:on", "case:on", "shutter:off"]
    async with running(panel) as told:
        assert told == ["shutter:off", "case:on"]


async def test_brightness_and_colours() -> None:
    leds = [
        LedSpec("status", "GPIO27"),
        LedSpec("dim", "GPIO5", brightness=0.25),
        LedSpec("colours", "GPIO6", more=("GPIO13", "GPIO19"), colour="#ff0000", brightness=0.5),
        LedSpec("anode", "GPIO16", more=("GPIO20", "GPIO21"), active_high=False),
    ]
    panel = GpioPanel(Wiring(leds=leds), "mock")
    async with running(panel):
        panel.show("dim", "on")
        panel.show("colours", "on")
        panel.show("anode", "on#00ff00")
        await eventually(lambda: panel.world.led("anode"))
        await eventually(lambda: panel.world.levels("anode") == (0, 1, 0))
        assert panel.world.levels("dim") == (0.25,)
        assert panel.world.levels("colours") == (0.5, 0, 0)
        panel.show("colours", "on#0000ff")
        await eventually(lambda: panel.world.levels("colours") == (0, 0, 0.5))
        panel.show("status", "on#0000ff")  # a plain light has no choice
        assert panel.world.levels("status") == (1,)
    assert not any(panel.world.led(led.name) for led in leds)
    with pytest.raises(UsageError, match="perhaps with a colour"):
        panel.show("colours", "on#12")


async def test_a_relay_that_a_low_pin_energises_never_blinks() -> None:
    panel = mock()
    seen: list[bool] = []
    panel.world.on_change(lambda kind, name, state: seen.append(state) if kind == "relay" else None)
    for _ in range(2):
        async with running(panel):
            pass
    assert seen == []


async def test_a_part_whose_pin_a_sound_card_has_is_left_out() -> None:
    taken = {"GPIO22": "HAT (amplifier)", "GPIO5": "HAT (light)"}
    panel = GpioPanel(WIRING, "mock", taken=lambda: taken)
    assert not panel.missing
    panel.show("inverse", "on")
    async with running(panel):
        assert panel.missing == (
            "HAT (light) and led 'inverse' both want GPIO5: move led 'inverse' to another pin",
            "HAT (amplifier) and relay 'door' both want GPIO22: move relay 'door' to another pin",
        )
        with pytest.raises(DeviceMissing, match="both want GPIO22"):
            panel.pulse("door", 100)
        panel.pulse("gate", 100)
        assert panel.energised("gate")
    del taken["GPIO22"]
    async with running(panel):
        panel.pulse("door", 100)
        assert panel.energised("door")
