"""The commands that talk to the daemon, over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_node.cli.main import main
from edge_node.errors import SettingsError, UsageError
from edge_node.node.control import ControlServer


class Daemon:
    """Remembers commands; answers with `result` or raises it."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.result: Mapping[str, Any] | Exception = {}

    async def __call__(self, command: str, args: dict[str, Any]) -> Mapping[str, Any]:
        self.calls.append((command, args))
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Daemon]:
    one = Daemon()
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    server = ControlServer(tmp_path / "control.sock", one)
    await server.start()
    yield one
    await server.stop()


async def edge_node(*words: str) -> int:
    return await asyncio.to_thread(main, list(words))


async def test_each_command_arrives_with_its_word(daemon: Daemon) -> None:
    for words in (["press"], ["press", "bell"], ["answer"], ["hangup"], ["open", "door"], ["reload"], ["status"]):
        assert await edge_node(*words) == 0
    assert daemon.calls == [
        ("press", {}),
        ("press", {"button": "bell"}),
        ("answer", {}),
        ("hangup", {}),
        ("open", {"door": "door"}),
        ("reload", {}),
        ("status", {}),
    ]


async def test_status_for_people_and_for_programs(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.result = {"line": "on home/front-door\x1b[2J, no call", "degraded": ["microphone: not there"], "x": 1}
    assert await edge_node("status") == 0
    assert capsys.readouterr().out == "on home/front-door?[2J, no call\ndegraded: microphone: not there\n"
    assert await edge_node("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["x"] == 1


async def test_status_tells_what_to_change_at_the_camera(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.result = {"line": "no call", "video": {"warning": "it sends JPEG pictures\x1b: set its codec to H.264"}}
    assert await edge_node("status") == 0
    assert capsys.readouterr().out == "no call\ncamera: it sends JPEG pictures?: set its codec to H.264\n"
    daemon.result = {"line": "no call", "video": {"warning": None}}
    assert await edge_node("status") == 0
    assert capsys.readouterr().out == "no call\n"


async def test_what_the_daemon_says_is_printed(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.result = {"result": "reloaded"}
    assert await edge_node("reload") == 0
    assert capsys.readouterr().out == "reloaded\n"


async def test_refusals_have_their_status(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.result = UsageError("no relay is named x: use door")
    assert await edge_node("open", "x") == 2
    daemon.result = SettingsError(["video.fps is 0"])
    assert await edge_node("reload") == 78
    assert capsys.readouterr().err == "edge-node: no relay is named x: use door\nedge-node: video.fps is 0\n"


def test_no_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--socket", str(tmp_path / "s")]) == 1
    assert "no edge-node runs at" in capsys.readouterr().err
