"""A door that wants signed requests, from a page in a real browser: unknown device, its key in the settings, open."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.browser import Console, chromium, console
from tests.support.process import Child, edge_node, free_port, run_once

pytestmark = [pytest.mark.chromium, pytest.mark.slow, pytest.mark.timeout(240)]

KEY = "pk_live_journeys_0123456789"
CODE = "a-code-of-this-test-0123456789"
HUB = f"""
[console]
code = "{CODE}"
channel = "home/front-door"
"""
NODE = """
[node]
id = "front-door"
[channel]
url = "ws://127.0.0.1:{port}"
name = "home/front-door"
api_key = "{key}"
[video]
source = "test"
width_px = 320
height_px = 240
[audio]
microphone = "none"
speaker = "none"
[gpio]
driver = "mock"
[[gpio.relay]]
name = "door"
pin = "GPIO22"
[door]
allow = ["resident-*"]
require_signature = true
"""


async def open_door(page: Console) -> None:
    await page.item("open-door").click()
    await page.until("document.querySelector('[data-testid=open-door-confirm]')?.disabled === false")
    await page.item("open-door-confirm").click()


async def test_a_device_opens_once_its_owner_knows_its_key(tmp_path: Path) -> None:
    port = free_port()
    hub_toml, node_toml, socket = tmp_path / "hub.toml", tmp_path / "node.toml", tmp_path / "control.sock"
    hub_toml.write_text(HUB)
    node_toml.write_text(NODE.format(port=port, key=KEY))
    hub = Child.edge_node("hub", "--config", str(hub_toml), "--port", str(port), "--dev-key", KEY)
    node = Child.edge_node("run", "--config", str(node_toml), "--socket", str(socket))
    async with hub, node, chromium() as browser:
        await hub.line("console")
        async with console(browser, f"http://127.0.0.1:{port}/#code={CODE}") as page:
            await page.until("document.querySelector('[data-testid=open-door]') !== null", 60)
            await open_door(page)
            await page.until_line("does not know this device")

            await page.item("you").click()
            await page.until("document.getElementById('device-key').textContent.length === 64")
            key = await page.text("device-key")
            await page.page.keyboard.press("Escape")
            with node_toml.open("a") as settings:
                settings.write(f'[[door.key]]\nname = "phone"\npublic = "{key}"\n')
            status, _, said = await run_once(*edge_node("reload", "--socket", str(socket)))
            assert status == 0, said

            async with asyncio.timeout(60):
                while "Open: door" not in await page.text("status-line"):
                    if await page.ask("document.querySelector('[data-testid=open-door]')?.disabled === false"):
                        await open_door(page)
                    await asyncio.sleep(0.1)

        async with console(browser, f"http://127.0.0.1:{port}/#code={CODE}") as page:
            await page.until("document.querySelector('[data-testid=open-door]') !== null", 60)
            await open_door(page)  # another profile: another device
            await page.until_line("does not know this device")
