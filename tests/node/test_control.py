"""The control socket: commands, refusals, permissions, stale sockets, deadlines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from edge_node.cli.control_client import call, find_socket
from edge_node.errors import EdgeNodeError, RetryLater, SettingsError, UsageError
from edge_node.node.control import MAX_CLIENTS, MAX_LINE_BYTES, ControlServer, server_path, socket_paths
from tests.support.waiting import eventually


class World:
    """A handler that remembers, fails on request, or takes as long as it is held."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error: Exception | None = None
        self.hold = asyncio.Event()
        self.hold.set()

    async def __call__(self, command: str, args: dict[str, Any]) -> Mapping[str, Any]:
        self.calls.append((command, args))
        await self.hold.wait()
        if self.error:
            raise self.error
        return {"did": command}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def server(tmp_path: Path, world: World) -> AsyncIterator[ControlServer]:
    one = ControlServer(tmp_path / "control.sock", world, read_deadline_s=5, handler_deadline_s=5)
    await one.start()
    yield one
    await one.stop()


async def ask(server: ControlServer, command: str, **args: Any) -> dict[str, Any]:
    return await asyncio.to_thread(call, server.path, command, args, 10.0)


async def raw(path: Path, data: bytes) -> dict[str, Any]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(data)
        answer: dict[str, Any] = json.loads(await asyncio.wait_for(reader.readline(), 30))
        return answer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):  # the server did not read all of an overlong line
            await writer.wait_closed()


async def test_a_command_reaches_the_handler_and_its_result_the_client(server: ControlServer, world: World) -> None:
    assert await ask(server, "press", button="call") == {"did": "press"}
    assert await ask(server, "status") == {"did": "status"}
    assert world.calls == [("press", {"button": "call"}), ("status", {})]


@pytest.mark.parametrize(
    "error",
    [
        UsageError("no button is named x: use call"),
        SettingsError(["video.fps is 0", "video.url is missing"]),
        EdgeNodeError("the door is stuck"),
    ],
)
async def test_errors_arrive_as_what_they_are(server: ControlServer, world: World, error: EdgeNodeError) -> None:
    world.error = error
    with pytest.raises(type(error)) as caught:
        await ask(server, "press")
    assert str(caught.value) == str(error)


async def test_a_bug_is_logged_and_does_not_leak(
    server: ControlServer, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.error = RuntimeError("secret detail")
    with pytest.raises(EdgeNodeError, match="look at the journal") as caught:
        await ask(server, "press")
    assert "secret detail" not in str(caught.value)
    assert "secret detail" in caplog.text
    world.error = None
    assert await ask(server, "status")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"hello\n", "one line of JSON"),
        (b"[" * 50_000 + b"\n", "one line of JSON"),
        (b"[1]\n", "a JSON object"),
        (b'{"command": "reboot"}\n', "knows the commands status, press"),
        (b'{"command": ["status"]}\n', "knows the commands"),
        (b'{"command": "status", "args": 3}\n', "args is a JSON object"),
        (b"x" * (MAX_LINE_BYTES + 10) + b"\n", "at most"),
    ],
)
async def test_requests_that_make_no_sense(server: ControlServer, world: World, line: bytes, expected: str) -> None:
    answer = await raw(server.path, line)
    assert answer["ok"] is False
    assert answer["kind"] == "usage"
    assert expected in answer["error"]
    assert world.calls == []


async def test_silence_and_slow_handlers_have_a_deadline(tmp_path: Path, world: World) -> None:
    server = ControlServer(tmp_path / "s", world, read_deadline_s=0.05, handler_deadline_s=0.05)
    await server.start()
    try:
        assert "no command came" in (await raw(server.path, b""))["error"]
        world.hold.clear()
        assert "took more than 0.05 s" in (await raw(server.path, b'{"command":"reload"}\n'))["error"]
    finally:
        await server.stop()


async def test_clients_that_hang_up_do_no_harm(server: ControlServer, world: World) -> None:
    world.hold.clear()
    _, writer = await asyncio.open_unix_connection(str(server.path))
    writer.write(b'{"command":"status"}\n')
    await eventually(lambda: len(world.calls) == 1)
    writer.close()
    await writer.wait_closed()
    _, writer = await asyncio.open_unix_connection(str(server.path))
    writer.close()
    await writer.wait_closed()
    world.hold.set()
    assert await ask(server, "status") == {"did": "status"}


async def test_too_many_clients_are_told_so(server: ControlServer, world: World) -> None:
    world.hold.clear()
    waiting = [asyncio.create_task(raw(server.path, b'{"command":"status"}\n')) for _ in range(MAX_CLIENTS)]
    await eventually(lambda: len(world.calls) == MAX_CLIENTS)
    answer = await raw(server.path, b'{"command":"status"}\n')
    assert "busy with other commands" in answer["error"]
    assert server.refused == 1
    world.hold.set()
    assert all(one["ok"] for one in await asyncio.gather(*waiting))


async def test_only_owner_and_group_may_connect(server: ControlServer) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o660


async def test_who_asked_is_logged(server: ControlServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await ask(server, "open", door="door")
    assert f"control: open from pid {os.getpid()} uid {os.getuid()}" in caplog.text


async def test_the_socket_goes_with_the_server_and_a_stale_one_is_replaced(tmp_path: Path, world: World) -> None:
    path = tmp_path / "control.sock"
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()
    with pytest.raises(RetryLater, match="no edge-node runs"):
        call(path, "status")
    one = ControlServer(path, world)
    await one.start()
    other = ControlServer(path, world)
    with pytest.raises(UsageError, match="another edge-node already serves"):
        await other.start()
    await other.stop()
    assert await ask(one, "status")
    await one.stop()
    await one.stop()
    assert not path.exists()


async def test_paths_that_cannot_be_served(tmp_path: Path, world: World) -> None:
    with pytest.raises(UsageError, match="more than 107 bytes"):
        await ControlServer(tmp_path / ("x" * 120), world).start()
    with pytest.raises(UsageError, match="cannot be served"):
        await ControlServer(tmp_path / "absent" / "s", world).start()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(tmp_path / "datagrams"))
        with pytest.raises(UsageError, match="no usable socket"):
            await ControlServer(tmp_path / "datagrams", world).start()


async def test_run_serves_until_cancelled(tmp_path: Path, world: World) -> None:
    server = ControlServer(tmp_path / "s", world)
    up = asyncio.Event()
    task = asyncio.create_task(server.run(up.set))
    await asyncio.wait_for(up.wait(), 30)
    assert await ask(server, "status")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not server.path.exists()


async def test_stop_ends_conversations(tmp_path: Path, world: World) -> None:
    server = ControlServer(tmp_path / "s", world)
    await server.start()
    world.hold.clear()
    asked = asyncio.create_task(ask(server, "status"))
    await eventually(lambda: len(world.calls) == 1)
    await server.stop()
    with pytest.raises(RetryLater, match="without an answer"):
        await asked


def test_where_the_socket_is(tmp_path: Path) -> None:
    env = {"RUNTIME_DIRECTORY": f"{tmp_path}/run:/other", "XDG_RUNTIME_DIR": str(tmp_path)}
    paths = socket_paths(env)
    assert paths[0] == tmp_path / "run" / "control.sock"
    assert paths[1] == Path("/run/edge-node/control.sock")
    assert paths[2] == tmp_path / "edge-node" / "control.sock"
    assert paths[3] == Path(f"/tmp/edge-node-{os.getuid()}/control.sock")
    assert socket_paths({})[0] == Path("/run/edge-node/control.sock")
    assert server_path(env) == paths[0]
    assert find_socket(env) == paths[0]
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(paths[0]))
        assert find_socket(env) == paths[0]


def test_a_link_or_a_file_is_no_directory_for_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    places = [tmp_path / "link" / "s", tmp_path / "real" / "s"]
    monkeypatch.setattr("edge_node.node.control.socket_paths", lambda _: places)
    assert server_path({}) == places[1]
    monkeypatch.setattr("edge_node.node.control.socket_paths", lambda _: places[:1])
    with pytest.raises(UsageError, match="--socket"):
        server_path({})
