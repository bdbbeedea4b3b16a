"""From a fleet's files to a node on the channel, as processes; its secret is looked for everywhere afterwards."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from edge_node.cli.main import main
from edge_node.hub import reload
from edge_node.hub.enrol_file import revoke_device
from tests.provision.cards import CANARY, boot_partition
from tests.support.hub_client import client, running_hub
from tests.support.process import Child, edge_node, free_port, run_once
from tests.support.waiting import eventually

FLEET = """
[card]
country = "DE"

[wifi.default]
ssid = "Doors"
password = "@env:WIFI"

[hub]
url = "ws://127.0.0.1:{port}"

[settings.video]
source = "test"
width_px = 160
height_px = 96

[settings.audio]
microphone = "none"
speaker = "none"

[settings.gpio]
driver = "none"

[settings.telemetry]
interval_s = 0.5
"""


def provisioned(device: Path, port: int) -> str:
    """A device that has just started for the first time; its claim's code."""
    fleet, claims, boot = device / "fleet.toml", device / "claims.csv", device / "boot"
    fleet.write_text(FLEET.format(port=port))
    register = ["--file", str(device / "hub" / "enrolment.json")]
    assert main(["hub", "claim", "new", "gate-1", "--out", str(claims), *register]) == 0
    boot_partition(boot)
    words = ["--fleet", str(fleet), "--claims", str(claims), "--out", str(device / "out"), "--boot", str(boot)]
    assert main(["provision", "new", "gate-1", *words]) == 0
    assert main(["firstboot", "--root", str(device)]) == 0
    return claims.read_text().splitlines()[1].split(",")[1]


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


async def shown(socket: Path, indicator: str) -> bool:
    """Waits until the node's light plays it."""
    async with asyncio.timeout(60):
        while True:
            _, out, _ = await run_once(*edge_node("status", "--json", "--socket", str(socket)))
            if json.loads(out)["indicator"] == indicator:
                return True


async def test_a_card_a_hub_a_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WIFI", CANARY)
    monkeypatch.setattr(reload, "EVERY_S", 0.05)
    port = free_port()
    code = provisioned(tmp_path, port)
    assert not files_with(code, tmp_path / "boot"), "the card forgot it"
    state, register = tmp_path / "var/lib/edge-node", tmp_path / "hub/enrolment.json"
    node = Child.edge_node(
        "run", "--config", str(tmp_path / "etc/edge-node/edge-node.toml"), "--socket", str(tmp_path / "s.sock"),
        env={"STATE_DIRECTORY": str(state), "WIFI": ""},
    )  # fmt: skip
    async with node:
        await node.line("cannot be reached")  # there is no network yet
        keys = {"file": register.with_name("keys.json")}
        async with running_hub(port=port, keys=keys) as hub, client(hub) as spy:
            await spy.ask(type="subscribe", channel="telemetry/gate-1")
            sample: dict[str, Any] = {}
            while sample.get("type") != "telemetry":
                frame = await spy.until("message")
                sample = frame["data"]
            assert frame["from"] == "gate-1", "the hub itself says that it is this node"
            await eventually(lambda: hub.connections >= 3, timeout_s=30)
            revoke_device(register, "gate-1", 5)
            await node.line("the hub refuses this device")
            await eventually(lambda: hub.connections == 1, timeout_s=30)
            assert await shown(tmp_path / "s.sock", "refused"), "the light says that somebody has to look"
        logs = "\n".join([*node.text, *map(json.dumps, node.events), json.dumps(sample)])
    for secret in (code, code.partition(".")[2], CANARY, "BEGIN PRIVATE"):
        assert secret not in logs
    for secret in (code.partition(".")[2], CANARY):
        kept = {path.parent.name for path in files_with(secret, tmp_path)}
        # The operator's own files, which went in; the device's have only what came out.
        assert kept <= {tmp_path.name, "edge-node"} and not files_with(secret, state), kept
        assert not files_with(secret, tmp_path / "etc") and not files_with(secret, register.parent)
