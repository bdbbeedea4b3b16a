"""The servers under test as processes of their own."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.hub.dialects import KEY
from tests.support.process import Child, free_port

HUB_SETTINGS = f"""
port = 0
dev_key = "{KEY}"
[console]
enabled = false
[limits]
max_connections = 20000
messages_per_s = 10000
burst = 100000
"""
# Version 2.0.11 gives up when it has WebSocket listeners only (hence the Unix socket) and takes the name of an
# interface where its manual says address (measured: with 127.0.0.1 it listens on all).
MOSQUITTO_SETTINGS = """
listener 0 {folder}/mosquitto.sock
listener {port} lo
protocol websockets
allow_anonymous true
max_connections -1
persistence false
set_tcp_nodelay true
log_dest stdout
log_type error
"""
START_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens."""

    name: str
    pid: int
    port: int


@asynccontextmanager
async def hub(folder: Path) -> AsyncIterator[Running]:
    """Our hub."""
    path = folder / "hub.toml"
    path.write_text(HUB_SETTINGS)
    async with Child.edge_node("hub", "--config", str(path), "--json") as child:
        ready = await child.event(lambda e: e.get("event") == "ready", timeout_s=START_TIMEOUT_S)
        yield Running("hub", child.pid, int(str(ready["hub"]).rsplit(":", 1)[1]))


def mosquitto_path() -> str | None:
    """Debian puts it where only root looks."""
    return shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


@asynccontextmanager
async def mosquitto(folder: Path) -> AsyncIterator[Running]:
    """Debian's broker, listening for MQTT over WebSocket."""
    program, port = mosquitto_path(), free_port()
    assert program is not None
    path = folder / "mosquitto.conf"
    # As root it would become another user, who may not read this folder.
    path.write_text(MOSQUITTO_SETTINGS.format(folder=folder, port=port) + ("user root\n" if os.geteuid() == 0 else ""))
    async with Child(program, "-c", str(path)) as child:
        await _listening(port)
        yield Running("mosquitto", child.pid, port)


async def _listening(port: int) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            await writer.wait_closed()
            return
