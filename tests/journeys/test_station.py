"""Two nodes on one channel: the button at the door rings the station in the hall, which answers and opens."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_node.call.effects import Phase
from edge_node.call.indicator import Indicator
from edge_node.errors import RetryLater, UsageError
from edge_node.host.enrolment import device_key
from edge_node.media.microphone import ToneMicrophone
from tests.support.house import Machine, machine
from tests.support.hub_client import running_hub
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

DOOR_HZ, HALL_HZ = 600.0, 880.0
DOOR: dict[str, Any] = {
    "node": {"id": "door", "name": "Front door"},
    "door": {"allow": ["hall"]},
    "gpio": {
        "driver": "mock",
        "button": [{"name": "bell", "pin": "GPIO17"}],
        "relay": [{"name": "front", "pin": "GPIO22", "pulse_ms": 50}],
    },
}
HALL: dict[str, Any] = {
    "node": {"id": "hall", "name": "Hall", "role": "indoor"},
    "audio": {"publish": "call"},
    "gpio": {
        "driver": "mock",
        "button": [
            {"name": "talk", "pin": "GPIO17", "action": "toggle"},
            {"name": "open", "pin": "GPIO23", "action": "open:front"},
        ],
        "led": [{"name": "status", "pin": "GPIO27"}],
    },
}


@asynccontextmanager
async def a_house(state: Path | None = None, **door_tables: Any) -> AsyncIterator[tuple[Machine, Machine]]:
    """A door and a hall that know each other; `state` is where the hall keeps its key."""
    tables = {**DOOR, **door_tables}
    async with (
        running_hub() as hub,
        machine(hub, tables, ToneMicrophone(DOOR_HZ)) as door,
        machine(hub, HALL, ToneMicrophone(HALL_HZ), state) as hall,
    ):
        await eventually(lambda: all(one.node.status()["channel"]["peers"] == 1 for one in (door, hall)))
        yield door, hall


async def test_rung_answered_opened_hung_up() -> None:
    async with a_house() as (door, hall):
        opened: list[bool] = []
        door.world.on_change(lambda kind, name, on: opened.append(on) if (kind, name) == ("relay", "front") else None)
        with pytest.raises(UsageError, match="while no other node rings here"):
            await hall.node.open_door("front")
        door.world.press("bell")
        await eventually(lambda: hall.phase is Phase.INCOMING)
        await eventually(lambda: hall.node.outputs.indicator is Indicator.RINGING)
        assert not hall.speaker.plays(DOOR_HZ), "nobody is heard before somebody answers"

        hall.world.press("open")
        await eventually(lambda: opened == [True, False])
        assert door.phase is Phase.RINGING, "it may be opened without a word"

        hall.world.press("talk")
        await eventually(lambda: (door.phase, hall.phase) == (Phase.ACTIVE, Phase.ACTIVE))
        await eventually(lambda: hall.speaker.plays(DOOR_HZ), 30)
        await eventually(lambda: door.speaker.plays(HALL_HZ), 30)
        assert door.node.intercom.view.peer_id == "hall"
        await hall.node.open_door("front")
        await eventually(lambda: opened == [True, False] * 2)

        hall.world.press("talk")
        await eventually(lambda: (door.phase, hall.phase) == (Phase.IDLE, Phase.IDLE))
        await eventually(lambda: hall.speaker.silent and door.speaker.silent)
        with pytest.raises(UsageError, match="no door 'front'"):
            await hall.node.open_door("front")


async def test_declined_and_cancelled() -> None:
    async with a_house() as (door, hall):
        door.world.press("bell")
        await eventually(lambda: hall.phase is Phase.INCOMING)
        hall.node.intercom.action("hangup", "control socket")
        await eventually(lambda: (door.phase, hall.phase) == (Phase.IDLE, Phase.IDLE))
        door.node.press("bell")
        await eventually(lambda: hall.phase is Phase.INCOMING)
        door.node.intercom.action("hangup", "control socket")
        await eventually(lambda: (door.phase, hall.phase) == (Phase.IDLE, Phase.IDLE))


async def test_a_door_that_wants_signatures_knows_the_station_by_its_key(tmp_path: Path) -> None:
    key = {"name": "hall", "public": device_key(tmp_path).public, "peers": ["hall"]}
    async with a_house(tmp_path, door={"allow": ["hall"], "require_signature": True, "key": [key]}) as (door, hall):
        opened: list[bool] = []
        door.world.on_change(lambda kind, name, on: opened.append(on) if (kind, name) == ("relay", "front") else None)
        door.world.press("bell")
        # By the time somebody presses a button the door has said what it wants; a test is faster than that.
        await eventually(lambda: hall.node.intercom._machine._doors._there is not None)
        await hall.node.open_door("front")
        await eventually(lambda: opened == [True, False])


async def test_a_door_says_why_it_stays_shut() -> None:
    async with a_house(door={"allow": ["resident-*"]}) as (door, hall):
        door.world.press("bell")
        await eventually(lambda: hall.phase is Phase.INCOMING)
        with pytest.raises(RetryLater, match="front stays shut: not allowed"):
            await hall.node.open_door("front")
