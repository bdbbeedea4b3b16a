"""The camera's controls follow the light."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from edge_node.encode_plan.daylight import DaylightRule, Light
from edge_node.node.light import LightKeeper
from tests.support.clock import ManualClock
from tests.support.waiting import eventually

CONTROLS: Mapping[Light, Mapping[str, Any]] = {Light.DAY: {"AeEnable": True}, Light.NIGHT: {"AnalogueGain": 8.0}}


async def go_through(keeper: LightKeeper, clock: ManualClock, luma: float) -> None:
    for _ in range(60):
        clock.advance(1)
        await asyncio.to_thread(keeper.luma, luma)
    await asyncio.sleep(0)


async def test_night_and_day_set_the_controls_and_move_the_output() -> None:
    clock = ManualClock()
    controls: list[Mapping[str, Any]] = []
    lamp: list[bool] = []
    keeper = LightKeeper(DaylightRule(), clock, CONTROLS, controls.append, lamp.append)
    await go_through(keeper, clock, 10)
    assert keeper.light is Light.NIGHT
    await go_through(keeper, clock, 200)
    assert controls == [{"AnalogueGain": 8.0}, {"AeEnable": True}] and lamp == [True, False]


async def test_lux_has_limits_of_its_own() -> None:
    clock = ManualClock()
    lamp: list[bool] = []
    keeper = LightKeeper(DaylightRule(), clock, CONTROLS, None, lamp.append, DaylightRule(5, 20))
    for lux, is_night in ((30.0, False), (2.0, True), (10.0, True), (50.0, False)):
        for _ in range(90):
            clock.advance(1)
            keeper.lux(lux)
            await asyncio.sleep(0)
        assert (keeper.light is Light.NIGHT) == is_night
    assert lamp == [True, False]


async def test_a_camera_without_controls_or_one_that_refuses(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()

    def refuse(controls: Mapping[str, Any]) -> None:
        raise RuntimeError("Control Gain is not advertised by libcamera")

    for set_controls in (None, refuse):
        keeper = LightKeeper(DaylightRule(), clock, CONTROLS, set_controls)
        await go_through(keeper, clock, 10)
        assert keeper.light is Light.NIGHT
    assert "not advertised" in caplog.text


async def test_a_light_sensor_decides_instead_of_the_pictures() -> None:
    clock = ManualClock()
    lamp: list[bool] = []
    keeper = LightKeeper(DaylightRule(settle_s=0.02), clock, CONTROLS, None, lamp.append)
    keeper.sensor(True)
    await eventually(lambda: lamp == [True])
    await go_through(keeper, clock, 250)
    assert lamp == [True]
    keeper.sensor(False)
    keeper.sensor(True)  # a car's headlights
    keeper.sensor(False)
    await eventually(lambda: lamp == [True, False])
    assert keeper.light is Light.DAY
