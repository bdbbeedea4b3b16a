"""A site as an installer has it: a hub, a camera, a sound card, a node, each in its own process."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.support.process import Child, Event, edge_node, free_port, run_once
from tests.support.pulse import PulseLab

KEY = "pk_live_journeys_0123456789"
CHANNEL = "home/front-door"
TELEMETRY = "telemetry/front-door"

CONFIG = """
[node]
id = "front-door"
name = "Front door"

[channel]
url = "{hub}"
name = "{channel}"
api_key = "{key}"

[video]
source = "rtsp"
url = "{camera}"

[audio]
microphone = "mic"
echo_cancel = "off"                 # its people are tones, which a noise suppressor takes for noise
speaker = "speaker"

[gpio]
driver = "mock"

[[gpio.button]]
name = "call"
pin = "GPIO17"

[[gpio.led]]
name = "status"
pin = "GPIO27"

[[gpio.relay]]
name = "door"
pin = "GPIO22"

[door]
allow = ["resident-*"]

[telemetry]
channel = "{telemetry}"
interval_s = 1
"""


class Site:
    """Start what a journey needs, kill it, bring it back."""

    def __init__(self, folder: Path, lab: PulseLab) -> None:
        self.folder = folder
        self.lab = lab
        self.hub_port = free_port()
        self.camera_port = free_port()
        self.config = folder / "config.toml"
        self.socket = folder / "control.sock"
        self.config.write_text(
            CONFIG.format(hub=self.hub_url, camera=self.camera_url, channel=CHANNEL, key=KEY, telemetry=TELEMETRY)
        )
        self.hub: Child | None = None
        self.camera: Child | None = None
        self.node: Child | None = None

    @property
    def hub_url(self) -> str:
        return f"ws://127.0.0.1:{self.hub_port}"

    @property
    def camera_url(self) -> str:
        return f"rtsp://127.0.0.1:{self.camera_port}/stream"

    async def start_hub(self) -> None:
        self.hub = await Child.edge_node("hub", "--port", str(self.hub_port), "--dev-key", KEY).start()
        await self.hub.line("console")

    async def start_camera(self) -> None:
        words = ("--make", "1280x720@30", "--cache", str(self.folder / "clip.h264"), "--port", str(self.camera_port))
        self.camera = await Child.module("tests.support.rtsp_server", *words).start()
        await self.camera.line("ready", timeout_s=60)

    async def start_node(self, **env: str) -> None:
        """`env` comes on top of the lab's."""
        words = ("run", "--config", str(self.config), "--socket", str(self.socket))
        self.node = await Child.edge_node(*words, env={**self.lab.env, **env}).start()

    async def start(self) -> None:
        await asyncio.gather(self.start_hub(), self.start_camera())
        await self.start_node()

    async def stop(self) -> None:
        for child in (self.node, self.camera, self.hub):
            if child is not None:
                await child.stop()

    async def control(self, *words: str) -> dict[str, Any]:
        """`edge-node WORDS --socket …`; what it prints as JSON, if it does."""
        status, out, err = await run_once(*edge_node(*words, "--socket", str(self.socket)))
        assert status == 0, f"edge-node {' '.join(words)}: {err or out}"
        return dict(json.loads(out)) if out.strip().startswith("{") else {}

    async def status(self) -> dict[str, Any]:
        return await self.control("status", "--json")

    async def whole(self, *, viewers: int | None = None, timeout_s: float = 30.0) -> dict[str, Any]:
        """Waits until nothing is degraded, the picture is live and the channel joined; the status then."""
        status: dict[str, Any] = {}
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    try:
                        status = await self.status()
                    except AssertionError:  # the control socket is not there yet
                        await asyncio.sleep(0.2)
                        continue
                    enough = viewers is None or status["video"]["viewers"] >= viewers
                    if is_whole(status) and enough:
                        return status
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise AssertionError(f"the node is not whole after {timeout_s} s: {status}") from None

    def viewer(self, *words: str) -> Child:
        """The program written with the official SDK."""
        where = ("--url", self.hub_url, "--key", KEY, "--channel", CHANNEL)
        return Child.module("tests.support.official_viewer", *where, *words)


def is_whole(status: dict[str, Any]) -> bool:
    """Nothing is degraded, and everything delivers."""
    return (
        not status["degraded"]
        and status["channel"]["state"] == "joined"
        and status["video"]["state"] == "live"
        and status["audio"]["state"] == "live"
        and all(part["state"] == "up" for part in status["parts"].values())
    )


def is_data(kind: str, **fields: Any) -> Any:
    """Matches a `data` event of the official viewer."""

    def matches(event: Event) -> bool:
        data = event.get("data")
        return (
            event["event"] == "data"
            and isinstance(data, dict)
            and data.get("type") == kind
            and all(data.get(name) == value for name, value in fields.items())
        )

    return matches
