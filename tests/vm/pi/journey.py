"""The virtual Pi's life, one step after the other: bash tests/vm/pi/run.sh (by its name no part of the usual tests)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from edge_node.hub.server import Hub
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.events import Message
from tests.bench.footprint.__main__ import IDLE_MB
from tests.bench.footprint.meter import by_mapping
from tests.contract import v4l2_cases
from tests.support.hub_client import running_hub
from tests.support.waiting import eventually
from tests.vm.pi import house
from tests.vm.pi.house import BUTTON, LED, LIT, MEDIA_S, RELAY, UNIT, Resident, online
from tests.vm.pi.machine import Machine, boot_card

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(900)]

KEPT = Path(os.environ.get("EDGE_NODE_VM_OUT", "test-output/vm"))
PICTURES = 40
IDLE_S = float(os.environ.get("EDGE_NODE_VM_IDLE_S", "15"))
"""How long nobody comes at first."""
SETTLE_S = 120.0
IDENTITY = "sha256sum /var/lib/edge-node/identity.key /etc/edge-node/edge-node.toml"
CASES = Path(v4l2_cases.__file__).read_text()
PYTHON = "/opt/edge-node/current/venv/bin/python"
MAIN_PID = f"systemctl show {UNIT} --property=MainPID --value"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the hub and of what is made for the machine."""
    return tmp_path_factory.mktemp("pi")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub(folder: Path) -> AsyncIterator[Hub]:
    async with running_hub(keys={"file": folder / "keys.json"}) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(hub: Hub, folder: Path) -> AsyncIterator[Machine]:
    machine = Machine(folder, card=await boot_card(folder / "card.img", house.card(hub, folder)))
    try:
        await machine.power_on()
        yield machine
        if machine.running:
            keep("journal.txt", await machine.shell("journalctl --no-pager --boot=all -o short-full", check=False))
    finally:
        keep("console.txt", machine.console())
        await machine.power_off()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def resident(hub: Hub) -> AsyncIterator[Resident]:
    resident = Resident(hub)
    try:
        yield resident
    finally:
        await resident.leave()


@pytest.fixture(scope="module")
def idle() -> list[tuple[float, list[str]]]:
    """Resident memory of the node that nobody watches in MB, with whose it is."""
    return []


def keep(name: str, text: str) -> None:
    """As a part of the test's output."""
    KEPT.mkdir(parents=True, exist_ok=True)
    (KEPT / name).write_text(text)


async def lit_percent(machine: Machine) -> int:
    return int(await machine.shell(LIT.replace("{line}", str(LED))))


async def test_01_first_boot(machine: Machine) -> None:
    """The node takes settings and claim from the boot partition, enrols, is online with all its parts by itself."""
    assert "pinctrl-bcm2711" in await machine.shell("gpiodetect")
    await online(machine)
    assert "front-door" in await machine.shell("cat /etc/edge-node/edge-node.toml")
    assert await machine.shell("find /boot/firmware -type f") == "", "nothing is left on the card"


async def test_02_the_led_shows_online(machine: Machine) -> None:
    """Alone on the channel it lights up for 0.1 s of 3; offline it would be half of the time, degraded a fifth."""
    assert 1 <= await lit_percent(machine) <= 10, await machine.shell(
        f"systemctl status {UNIT} --no-pager", check=False
    )


async def test_03_nobody_watches(
    machine: Machine, idle: list[tuple[float, list[str]]], record_property: Callable[[str, object], None]
) -> None:
    """Within SETTLE_S the start's leftovers are given back; judged at the end of the journey."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    held: list[float] = []
    while loop.time() - began < IDLE_S or (held[-1] > IDLE_MB and loop.time() - began < SETTLE_S):
        held.append(int(await machine.shell(f"awk '/^VmRSS/ {{print $2}}' /proc/$({MAIN_PID})/status")) * 1024 / 1e6)
        await asyncio.sleep(5.0)
    owners = by_mapping(await machine.shell(f"cat /proc/$({MAIN_PID})/smaps"))
    lines = [f"{rss:7.2f} MB, anonymous {anonymous:6.2f}  {owner}" for owner, (rss, anonymous) in owners.items()]
    keep("memory.txt", "\n".join(lines) + "\n")
    record_property("rss_mb_without_viewer", round(held[-1], 1))
    print(f"\nresident memory without a viewer {held[0]:.1f} MB at first, {held[-1]:.1f} MB then")
    idle.append((held[-1], lines))


async def test_04_the_button_rings(machine: Machine, resident: Resident) -> None:
    await resident.arrive()
    await eventually(lambda: resident.node is not None, MEDIA_S)
    await machine.press(BUTTON)
    ring = await resident.message(lambda m: m["type"] == "call.ring")
    assert (ring["node"], ring["name"]) == ("front-door", "Front door")
    assert 30 <= await lit_percent(machine) <= 70, "it flashes while it rings"


async def test_05_the_camera_is_seen(resident: Resident, record_property: Callable[[str, object], None]) -> None:
    seen, fps = await resident.sees(PICTURES)
    record_property("pictures_per_s", round(fps, 1))
    print(f"\n{fps:.1f} pictures per second of {house.WIDTH_PX}x{house.HEIGHT_PX} at {house.FPS}")
    assert {picture.shape for picture in seen} == {(house.HEIGHT_PX, house.WIDTH_PX)}
    assert seen[0].std() > 20, "vivid's picture has bars"
    assert np.abs(seen[0].astype(int) - seen[-1]).max() > 50, "vivid's counter and text move"


async def test_06_answered_and_heard_both_ways(machine: Machine, resident: Resident) -> None:
    tone = f"speaker-test --device=plughw:0,0 --test=sine --frequency={house.MIC_HZ:.0f} --channels=1 --rate=48000"
    await machine.shell(f"systemd-run --quiet --unit=tone {tone}")
    ring = await resident.message(lambda m: m["type"] == "call.ring")
    await resident.says("call.answer", call=ring["call"])
    active = await resident.message(lambda m: m["type"] == "call.state" and m["state"] == "active")
    assert active["reason"] == "answered"
    await resident.hears(house.MIC_HZ)
    for _ in range(10):
        if abs(heard := await house.heard_at_the_door(machine)) and abs(heard - house.VOICE_HZ) < 10:
            break
    else:
        raise AssertionError(f"the resident's {house.VOICE_HZ} Hz is not heard at the door, but {heard:.0f} Hz")


async def test_07_the_door_opens(machine: Machine, resident: Resident) -> None:
    await machine.pin(RELAY, level=0)
    await resident.says("door.open", door="door", nonce="n-1", at=1)
    await machine.pin(RELAY, level=1)
    result = await resident.message(lambda m: m["type"] == "door.result")
    assert result["ok"] is True, result
    await machine.pin(RELAY, level=0)


async def test_08_hung_up(machine: Machine, resident: Resident) -> None:
    ring = await resident.message(lambda m: m["type"] == "call.ring")
    await resident.says("call.hangup", call=ring["call"])
    await resident.message(lambda m: m["type"] == "call.state" and m["state"] == "ended")
    assert (await house.status(machine))["call"]["state"] == "idle"


async def test_09_telemetry(hub: Hub, resident: Resident, record_property: Callable[[str, object], None]) -> None:
    samples: list[dict[str, object]] = []
    async with SignallingClient(api_key=hub.dev_key, url=hub.url) as client:
        client.on(Message, lambda event: samples.append(event.data))
        await client.subscribe(house.TELEMETRY)
        await eventually(lambda: len(samples) >= 2, MEDIA_S)
    sample = json.loads(json.dumps(samples[-1]))
    assert (sample["node"], sample["video"]["source"], sample["service"]["degraded"]) == ("front-door", "v4l2", [])
    record_property("rss_mb", sample["service"]["rss_mb"])
    record_property("connections", sum(track.track.kind == "video" for track in resident.watcher.tracks))
    print(f"\nresident memory with a viewer {sample['service']['rss_mb']} MB")


async def test_10_a_frozen_process_is_replaced(machine: Machine) -> None:
    """By the unit's own watchdog of 30 seconds."""
    frozen = (await machine.shell(MAIN_PID)).strip()
    await machine.shell(f"kill -{signal.SIGSTOP:d} {frozen}")
    await machine.eventually(f"systemctl show {UNIT} --property=NRestarts --value", lambda said: said == "1", 120)
    assert "Watchdog timeout" in await machine.shell(f"journalctl --no-pager --unit={UNIT}")
    await online(machine)


async def test_11_the_network_is_cut_and_returns(machine: Machine, resident: Resident) -> None:
    pid = await machine.shell(MAIN_PID)
    await machine.cable(plugged=False)
    ask = f"systemctl show {UNIT} --property=StatusText --value"
    await machine.eventually(ask, lambda said: f"on {house.CHANNEL}" not in said, 180)
    for _ in range(5):  # a starved machine loses its sound card for a while, too, and shows that
        if 35 <= (lit := await lit_percent(machine)) <= 65:
            break
    else:
        raise AssertionError(f"it blinks while it is offline, but is lit for {lit} %")
    await machine.cable(plugged=True)
    await online(machine)
    assert await machine.shell(MAIN_PID) == pid, "the same process"
    await still_rings(machine, resident)


async def test_12_the_power_is_cut_and_returns(machine: Machine, resident: Resident) -> None:
    identity = await machine.shell(IDENTITY)
    await machine.cut_power()
    await machine.power_on()
    await online(machine)
    assert await machine.shell("systemctl --failed --no-legend --plain") == ""
    assert await machine.shell(IDENTITY) == identity, "the same device"
    await still_rings(machine, resident)


async def test_13_killed_while_the_door_is_open(
    machine: Machine, resident: Resident, record_property: Callable[[str, object], None]
) -> None:
    """The pin is low before the pulse would have ended, and the unit saw to that itself.

    These simulated pins fall back when their program dies; a Pi's do not, so what counts is when the unit was through.
    """
    pid = (await machine.shell(MAIN_PID)).strip()
    killed = asyncio.ensure_future(machine.shell(house.KILLED.replace("{line}", str(RELAY)).replace("{pid}", pid)))
    await resident.says("door.open", door="door", nonce="n-2", at=2)
    assert int(await killed) < house.PULSE_MS - 1000
    ask = f"journalctl --no-pager --boot --unit={UNIT} --output=short-unix"
    released = "safe state: relay door is released"
    journal = await machine.eventually(ask, lambda said: released in said.rpartition("code=killed")[2], 60)
    before, _, after = journal.rpartition("code=killed")
    line = next(line for line in after.splitlines() if released in line)
    took_s = float(line.split()[0]) - float(before.splitlines()[-1].split()[0])
    record_property("safe_after_sigkill_s", round(took_s, 3))
    print(f"\nthe unit had released the relay {took_s:.2f} s after the program was killed")


async def test_14_the_camera_fails_in_every_way(machine: Machine) -> None:
    """tests/contract/v4l2_cases.py on the kernel's own camera for tests, whose controls make things go wrong."""
    await machine.shell(f"systemctl stop {UNIT}", timeout_s=60)
    await machine.write("/root/v4l2_cases.py", CASES)
    said = await machine.shell(f"{PYTHON} /root/v4l2_cases.py /dev/video0", timeout_s=400)
    assert said.count(" s\n") == len(v4l2_cases.CASES) + len(v4l2_cases.TROUBLES), said
    print(f"\n{said}")
    await machine.shell(f"systemctl start {UNIT}", timeout_s=300)
    await online(machine)


async def test_15_the_journal_tells_of_no_bug(machine: Machine) -> None:
    assert "Traceback" not in await machine.shell(f"journalctl --no-pager --boot=all --unit={UNIT}")


async def test_16_no_more_memory_than_allowed(idle: list[tuple[float, list[str]]]) -> None:
    """How many pages of libraries the guest's kernel maps differs by 10 MB from boot to boot."""
    [(held_mb, lines)] = idle
    assert held_mb <= IDLE_MB, lines


async def still_rings(machine: Machine, resident: Resident) -> None:
    """The button rings at the resident."""
    await eventually(lambda: resident.node is not None, house.ONLINE_S)
    heard = len(resident.heard)
    await machine.press(BUTTON)
    await eventually(lambda: any(m["type"] == "call.ring" for m in resident.heard[heard:]), house.MESSAGE_S)
    ring = next(m for m in resident.heard[heard:] if m["type"] == "call.ring")
    await resident.says("call.decline", call=ring["call"])
