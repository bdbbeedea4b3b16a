"""`edge-node snapshot` and `edge-node clip`, over a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_node.cli.main import main
from edge_node.node.control import ControlServer

JPEG = b"\xff\xd8 a picture"
NAME = "20270115T080000Z-ring.mp4"
CLIPS = [{"name": NAME, "bytes": 2_500_000, "at": 1_800_000_000.0}]


async def answer(command: str, args: dict[str, Any]) -> Mapping[str, Any]:
    if command == "snapshot":
        return {"jpeg": base64.b64encode(JPEG).decode(), "width_px": 640, "height_px": 360, "age_s": 0.04}
    if args["what"] == "list":
        return {"clips": CLIPS, "recording": False}
    return {"result": f"{args['what']} {args.get('name', '')}"}


@pytest.fixture
async def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    server = ControlServer(tmp_path / "control.sock", answer)
    await server.start()
    yield
    await server.stop()


async def edge_node(*words: str) -> int:
    return await asyncio.to_thread(main, list(words))


@pytest.mark.usefixtures("daemon")
async def test_a_snapshot_lands_in_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await edge_node("snapshot") == 0
    (made,) = tmp_path.glob("snapshot-*.jpg")  # noqa: ASYNC240  (a test may block)
    assert made.read_bytes() == JPEG and "640x360" in capsys.readouterr().out
    assert await edge_node("snapshot", "--output", "door.jpg") == 0
    assert (tmp_path / "door.jpg").read_bytes() == JPEG
    assert await edge_node("snapshot", "--output", "nowhere/door.jpg") == 2
    assert "name another file" in capsys.readouterr().err


@pytest.mark.usefixtures("daemon")
async def test_a_snapshot_goes_down_a_pipe(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert await edge_node("snapshot", "--output", "-") == 0
    assert capfdbinary.readouterr().out == JPEG


@pytest.mark.usefixtures("daemon")
async def test_clips(capsys: pytest.CaptureFixture[str]) -> None:
    assert await edge_node("clip", "list") == 0
    out = capsys.readouterr().out
    assert "2.5 MB" in out and NAME in out and "1 clips" in out
    assert await edge_node("clip", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["clips"] == CLIPS
    assert await edge_node("clip", "now") == 0
    assert await edge_node("clip", "delete", "x.mp4") == 0
    assert capsys.readouterr().out == "now \ndelete x.mp4\n"
    with pytest.raises(SystemExit):
        await edge_node("clip", "erase")
