"""A real TURN server (coturn) on loopback."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edge_node.protocol.payloads import IceServerConfig
from tests.support.process import free_port, listens
from tests.support.waiting import eventually

ABSENT = "coturn is not installed: apt-get install coturn"


def missing_turnserver() -> str | None:
    """Why there is no TURN server here; None when there is one."""
    return ABSENT if shutil.which("turnserver") is None else None


needs_turnserver = pytest.mark.skipif(missing_turnserver() is not None, reason=ABSENT)


@asynccontextmanager
async def turn_server(folder: Path, transport: str = "udp") -> AsyncIterator[IceServerConfig]:
    """Runs coturn; gives what a peer needs to use it over this transport."""
    port = free_port()
    arguments = (
        "-n", "--no-cli", "--no-tls", "--no-dtls", "--lt-cred-mech", "--fingerprint", "--allow-loopback-peers",
        "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}", "--user=user:password",
        "--realm=test", f"--pidfile={folder / 'turn.pid'}", f"--userdb={folder / 'turn.db'}", "--log-file=stdout",
        "--simple-log",
    )  # fmt: skip
    log = (folder / "turn.log").open("wb")
    process = await asyncio.create_subprocess_exec("turnserver", *arguments, stdout=log, stderr=log)
    try:
        await eventually(lambda: process.returncode is None and listens(port))
        yield IceServerConfig(f"turn:127.0.0.1:{port}?transport={transport}", "user", "password")
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)
        log.close()
