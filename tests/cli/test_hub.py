"""`edge-node hub` as a process."""

from __future__ import annotations

import signal
from pathlib import Path

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


async def test_a_taken_port_is_one_sentence() -> None:
    async with Child.edge_node("hub", "--port", "0", "--dev-key", KEY, "--json") as first:
        ready = await first.event(lambda event: event["event"] == "ready", timeout_s=60)
        port = ready["hub"].rpartition(":")[2]
        async with Child.edge_node("hub", "--port", port) as second:
            assert await second.end(timeout_s=60) == 1
            await second.line("edge-node: ")
            assert not any("Traceback" in line for line in second.text)
