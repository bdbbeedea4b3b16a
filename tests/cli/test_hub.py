"""`edge-node hub` as a process."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path

import aiohttp

from edge_node.realtime.client import SignallingClient
from tests.support.process import Child

KEY = "pk_dev_hub_test"


async def test_it_says_where_it_listens_serves_and_ends() -> None:
    async with Child.edge_node("hub", "--port", "0", "--dev-key", KEY, "--json") as hub:
        ready = await hub.event(lambda event: event["event"] == "ready", timeout_s=60)
        assert ready["console"].startswith("http://127.0.0.1:")
        async with SignallingClient(url=ready["hub"], api_key=KEY) as client:
            await client.publish("a", {"hello": True})
        hub.signal(signal.SIGTERM)
        assert await hub.end(timeout_s=60) == 0
        assert KEY not in "\n".join(hub.text)


async def test_a_key_that_was_drawn_is_told_and_works() -> None:
    async with Child.edge_node("hub", "--port", "0", "--json") as hub:
        ready = await hub.event(lambda event: event["event"] == "ready", timeout_s=60)
        async with SignallingClient(url=ready["hub"], api_key=ready["key"]) as client:
            await client.publish("a", {"hello": True})


async def test_a_code_that_its_owner_knows_is_not_printed(tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text('port = 0\ndev_key = "pk_dev_hub_test"\n[console]\ncode = "canary-canary-canary"\n')
    async with Child.edge_node("hub", "--config", str(config)) as hub:
        line = await hub.line("console: ", timeout_s=60)
        assert line.startswith("console: http://127.0.0.1:")
        await hub.line("hub: ws://127.0.0.1:")
        await hub.stop()
        assert "canary" not in "\n".join(hub.text)


async def test_with_its_own_authority_it_says_where_to_get_it_and_reloads(tmp_path: Path) -> None:
    config = tmp_path / "hub.toml"
    config.write_text(
        f'port = 0\nstate_dir = "{tmp_path}"\ndev_key = "{KEY}"\n[tls]\nself_made = true\nhttp_port = 0\n'
    )
    async with Child.edge_node("hub", "--config", str(config), "--json") as hub, aiohttp.ClientSession() as http:
        ready = await hub.event(lambda event: event["event"] == "ready", timeout_s=60)
        assert ready["hub"].startswith("wss://") and ready["console"].startswith("https://")
        async with http.get(ready["ca"]) as reply:
            trust = ssl.create_default_context(cadata=(await reply.read()).decode())
        hub.signal(signal.SIGHUP)
        await hub.line("the certificate was loaded again")
        async with http.get(ready["console"], ssl=trust) as reply:
            assert reply.status == 200
        hub.signal(signal.SIGTERM)
        assert await hub.end(timeout_s=60) == 0


async def test_a_taken_port_is_one_sentence() -> None:
    async with Child.edge_node("hub", "--port", "0", "--dev-key", KEY, "--json") as first:
        ready = await first.event(lambda event: event["event"] == "ready", timeout_s=60)
        port = ready["hub"].rpartition(":")[2]
        async with Child.edge_node("hub", "--port", port) as second:
            assert await second.end(timeout_s=60) == 1
            await second.line("edge-node: ")
            assert not any("Traceback" in line for line in second.text)
