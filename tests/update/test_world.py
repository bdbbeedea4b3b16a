"""The updater's view of the daemon: its control socket, its unit."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_node.errors import EdgeNodeError
from edge_node.node.control import ControlServer
from edge_node.update.world import Systemd


async def test_the_status_of_a_running_daemon(tmp_path: Path) -> None:
    async def answer(command: str, args: dict[str, Any]) -> Mapping[str, Any]:
        assert command == "status"
        return {"node": {"version": "1.2.3"}, "long": "x" * 100_000}

    server = ControlServer(tmp_path / "control.sock", answer)
    await server.start()
    try:
        status = await asyncio.to_thread(Systemd(server.path).status)
    finally:
        await server.stop()
    assert status is not None and status["node"] == {"version": "1.2.3"}


async def test_a_daemon_that_refuses_has_no_status(tmp_path: Path) -> None:
    async def refuse(command: str, args: dict[str, Any]) -> Mapping[str, Any]:
        raise EdgeNodeError("not now")

    server = ControlServer(tmp_path / "control.sock", refuse)
    await server.start()
    try:
        assert await asyncio.to_thread(Systemd(server.path).status) is None
    finally:
        await server.stop()


@pytest.mark.parametrize(
    "said",
    [
        [],
        {"node": None},
        {"call": "idle"},
        {"channel": []},
        {"parts": {"camera": "up"}},
        {"uptime_s": "long"},
        {"uptime_s": None},
    ],
)
async def test_a_version_on_trial_may_say_anything(said: Any, tmp_path: Path) -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(json.dumps({"ok": True, "result": said}).encode() + b"\n")
        writer.close()

    async with await asyncio.start_unix_server(serve, tmp_path / "control.sock"):
        assert await asyncio.to_thread(Systemd(tmp_path / "control.sock").status) is None


def test_no_daemon_no_status(tmp_path: Path) -> None:
    assert Systemd(tmp_path / "control.sock").status() is None


def test_restarting_the_unit(tmp_path: Path) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    systemctl.chmod(0o755)
    world = Systemd(tmp_path / "control.sock", str(systemctl))
    world.restart()
    assert (tmp_path / "said").read_text() == (
        "--no-block try-restart edge-node-hub.service\nrestart edge-node.service\n"
    )
    systemctl.write_text("#!/bin/sh\necho 'no such unit' >&2\nexit 5\n")
    with pytest.raises(EdgeNodeError, match="no such unit"):
        world.restart()
    with pytest.raises(EdgeNodeError, match="restart it yourself"):
        Systemd(tmp_path / "control.sock", str(tmp_path / "absent")).restart()


def test_its_clock_goes_on(tmp_path: Path) -> None:
    world = Systemd(tmp_path / "control.sock")
    before = world.now()
    world.sleep(0.0)
    assert world.now() >= before
