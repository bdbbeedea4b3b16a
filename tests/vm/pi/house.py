"""What is around the virtual Pi: the hub and a resident, both outside of it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from aiortc.mediastreams import MediaStreamError

from edge_node.cli.main import main
from edge_node.hub.server import Hub
from edge_node.provision.formats import SETTINGS
from edge_node.realtime.events import Data, PeerLeft
from edge_node.realtime.peer import MeteredPeer
from tests.support.peers import RATE, Tone, Watcher, hears, peer_of, strongest
from tests.support.waiting import eventually
from tests.vm.pi.machine import HOST, Machine

UNIT = "edge-node"
CHANNEL = "home/front-door"
TELEMETRY = "telemetry/front-door"
BUTTON, RELAY, LED = 17, 22, 27
PULSE_MS = 6000
NODE = "front-door"
REGISTER = "enrolment.json"
"""Beside the keys of the hub, which reads it."""
WIDTH_PX, HEIGHT_PX, FPS = 320, 180, 10
MIC_HZ, VOICE_HZ = 600.0, 880.0
ONLINE_S = 300.0
MESSAGE_S = 120.0
MEDIA_S = 180.0

FLEET = """
[card]
format = "edge-node"

[hub]
url = "{url}"

[settings.node]
name = "Front door"

[settings.channel]
allow_insecure_lan = true
name = "{channel}"

[settings.video]
source = "v4l2"
width_px = {width_px}
height_px = {height_px}
fps = {fps}

[settings.audio]
microphone = "hw:0,1"
speaker = "hw:1,0"
echo_cancel = "off"                 # its people are tones

[[settings.gpio.button]]
name = "call"
pin = "GPIO{button}"

[[settings.gpio.led]]
name = "status"
pin = "GPIO{led}"

[[settings.gpio.relay]]
name = "door"
pin = "GPIO{relay}"
pulse_ms = {pulse_ms}

[settings.door]
allow = ["resident-*"]

[settings.telemetry]
channel = "{telemetry}"
interval_s = 2
"""
# Prints what share of six seconds the pin was high, in percent; the patterns of the LED differ in that.
LIT = """python3 -c '
import time
lit = count = 0
end = time.monotonic() + 6
while time.monotonic() < end:
    lit += open("/run/pins/sim_gpio{line}/value").read(1) == "1"
    count += 1
    time.sleep(0.01)
print(round(100 * lit / count))'"""


def card(hub: Hub, folder: Path) -> dict[str, bytes]:
    """What `edge-node provision new` puts onto a boot partition: settings, and a claim that the hub takes once."""
    values = {"width_px": WIDTH_PX, "height_px": HEIGHT_PX, "fps": FPS, "button": BUTTON, "led": LED, "relay": RELAY}
    url = f"ws://{HOST}:{hub.url.rpartition(':')[2]}"
    fleet, claims, out = folder / "fleet.toml", folder / "claims.csv", folder / "cards"
    fleet.write_text(FLEET.format(url=url, channel=CHANNEL, telemetry=TELEMETRY, pulse_ms=PULSE_MS, **values))
    register = str(folder / REGISTER)
    assert main(["hub", "claim", "new", NODE, "--out", str(claims), "--file", register]) == 0
    assert main(["provision", "new", NODE, "--fleet", str(fleet), "--claims", str(claims), "--out", str(out)]) == 0
    made = out / NODE
    return {str(path.relative_to(made)): path.read_bytes() for path in sorted(made.rglob("*")) if path.is_file()}


def settings(hub: Hub, folder: Path) -> str:
    """The same settings for a node that nobody enrols."""
    text = card(hub, folder)[SETTINGS].decode()
    assert "enrolled = true" in text
    return text.replace("enrolled = true", f'api_key = "{hub.dev_key}"')


class Resident:
    """Somebody on the channel, who hears what the node says and sees what it shows."""

    def __init__(self, hub: Hub) -> None:
        self.peer: MeteredPeer = peer_of(hub, f"resident-{uuid.uuid4().hex[:6]}", connect_retry=True)
        self.watcher = Watcher(self.peer)
        self.left: list[str] = []
        self.heard: list[dict[str, Any]] = []
        self.voice = Tone(VOICE_HZ)
        self.peer.on(Data, lambda event: self.heard.append({"from": event.sender_peer_id, **event.data}))
        self.peer.on(PeerLeft, lambda event: self.left.append(event.peer.id))

    async def arrive(self) -> None:
        self.peer.add_track(self.voice)
        await self.peer.join(CHANNEL)

    async def leave(self) -> None:
        self.voice.stop()
        await self.peer.close()

    async def message(self, wanted: Callable[[dict[str, Any]], bool], timeout_s: float = MESSAGE_S) -> dict[str, Any]:
        """The first message that is wanted, from now on or before."""
        await eventually(lambda: any(map(wanted, self.heard)), timeout_s)
        return next(filter(wanted, self.heard))

    async def says(self, type: str, wait_for: float = MESSAGE_S, **fields: Any) -> None:
        """To the node alone."""
        await eventually(lambda: self.node is not None, wait_for)
        assert self.node is not None
        await self.peer.send_to(self.node, {"type": type, **fields})

    async def track(self, kind: str, timeout_s: float = MEDIA_S) -> Any:
        """The node's newest track of a kind: a connection that did not get on is replaced, and its tracks end."""

        def live() -> list[Any]:
            return [t.track for t in self.watcher.tracks if t.track.kind == kind and t.track.readyState == "live"]

        await eventually(lambda: bool(live()), timeout_s)
        return live()[-1]

    async def hears(self, hz: float, timeout_s: float = MEDIA_S) -> None:
        """Waits until the node's sound carries this tone."""
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(MediaStreamError):
                    await hears(await self.track("audio"), hz, timeout_s)
                    return

    async def sees(self, count: int, timeout_s: float = MEDIA_S) -> tuple[list[npt.NDArray[np.uint8]], float]:
        """The luma of the node's next pictures, all of one track; how many came per second."""
        async with asyncio.timeout(timeout_s):
            while True:
                with contextlib.suppress(MediaStreamError):
                    return await pictures(await self.track("video"), count, timeout_s)

    @property
    def node(self) -> str | None:
        """The node's peer id, while it is here."""
        here = [remote for remote in self.watcher.joined if self.left.count(remote) < self.watcher.joined.count(remote)]
        return here[-1] if here else None


async def pictures(track: Any, count: int, timeout_s: float) -> tuple[list[npt.NDArray[np.uint8]], float]:
    """The luma of the next pictures of a received track; how many came per second."""
    seen = []
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(timeout_s):
        frame = await track.recv()
        began = loop.time()
        for _ in range(count):
            frame = await track.recv()
            seen.append(frame.to_ndarray(format="gray"))
    return seen, count / (loop.time() - began)


# Kills the program while a pin is high; prints after how many milliseconds it was low.
KILLED = """python3 -c '
import os, time
def level():
    return open("/run/pins/sim_gpio{line}/value").read(1)
while level() != "1":
    time.sleep(0.01)
os.kill({pid}, 9)
began = time.monotonic()
while level() == "1":
    time.sleep(0.01)
print(round(1000 * (time.monotonic() - began)))'"""


async def heard_at_the_door(machine: Machine) -> float:
    """The strongest frequency that the node plays in two seconds; 0 for silence."""
    recording = "timeout 60 arecord -q -D plughw:1,1 -t raw -f S16_LE -c 1 -r 48000 -d 2 --buffer-time=1000000"
    text = await machine.shell(f"{recording} /run/heard.raw 2>/run/said; base64 /run/heard.raw", timeout_s=90)
    return strongest(np.frombuffer(base64.b64decode(text), np.int16)[: 2 * RATE].astype(np.float64))


async def status(machine: Machine) -> dict[str, Any]:
    """What the daemon says of itself."""
    said: dict[str, Any] = json.loads(await machine.shell("edge-node status --json"))
    return said


async def online(machine: Machine, timeout_s: float = ONLINE_S) -> None:
    """Waits until the unit is active, on its channel, and nothing is degraded."""
    ask = f"systemctl show {UNIT} --property=ActiveState,StatusText --value"

    def whole(said: str) -> bool:
        return "active" in said.splitlines() and f"on {CHANNEL}" in said and "degraded" not in said

    await machine.eventually(ask, whole, timeout_s)
