"""The control socket, over which people and scripts on this machine talk to the running daemon."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from edge_node.aio.tasks import TaskGroup
from edge_node.errors import EdgeNodeError, SettingsError, UsageError

log = logging.getLogger(__name__)

COMMANDS = ("status", "press", "answer", "hangup", "open", "reload", "privacy", "tamper", "snapshot", "clip")
SOCKET_NAME = "control.sock"
SOCKET_MODE = 0o660
MAX_LINE_BYTES = 64 * 1024
MAX_CLIENTS = 16
READ_DEADLINE_S = 5.0
HANDLER_DEADLINE_S = 30.0
MAX_PATH_BYTES = 107  # unix(7): sun_path has 108 bytes, the last a NUL

Handler = Callable[[str, dict[str, Any]], Awaitable[Mapping[str, Any]]]
"""`await handler(command, args)` gives the result; an EdgeNodeError's text goes to the client."""


def socket_paths(env: Mapping[str, str]) -> list[Path]:
    """Where the socket may be, best first: systemd's directory, /run, the user's, /tmp."""
    paths = []
    if runtime := env.get("RUNTIME_DIRECTORY", "").split(":")[0]:
        paths.append(Path(runtime))
    paths.append(Path("/run/edge-node"))
    if user := env.get("XDG_RUNTIME_DIR"):
        paths.append(Path(user) / "edge-node")
    paths.append(Path(f"/tmp/edge-node-{os.getuid()}"))
    return [path / SOCKET_NAME for path in paths]


def server_path(env: Mapping[str, str]) -> Path:
    """The first of socket_paths() that this process may serve, its directory made if need be. Raises UsageError."""
    for path in socket_paths(env):
        with contextlib.suppress(OSError):
            path.parent.mkdir(mode=0o750, exist_ok=True)
            about = path.parent.lstat()
            # Somebody else's directory under /tmp could hold somebody else's socket.
            if stat.S_ISDIR(about.st_mode) and about.st_uid == os.getuid() and os.access(path.parent, os.W_OK):
                return path
    raise UsageError("no directory for the control socket can be written: name a path with --socket")


class ControlServer:
    """One JSON object per line: `{"command": …, "args": {…}}` is answered, then the connection closes.

    The answer is `{"ok": true, "result": {…}}` or `{"ok": false, "kind": "usage" | "settings" | "failed", "error": …}`.
    Overflow rule: beyond MAX_CLIENTS a command is refused with an error; counted in `refused`.
    """

    def __init__(
        self,
        path: Path,
        handler: Handler,
        *,
        read_deadline_s: float = READ_DEADLINE_S,
        handler_deadline_s: float = HANDLER_DEADLINE_S,
    ) -> None:
        self.path = path
        self.refused = 0
        self._handler = handler
        self._read_deadline_s = read_deadline_s
        self._handler_deadline_s = handler_deadline_s
        self._server: asyncio.Server | None = None
        self._clients = TaskGroup("control")

    async def start(self) -> None:
        """Listens, in place of a socket that a dead daemon left. Raises UsageError when another one answers there."""
        listener = _bind(self.path)
        self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=MAX_LINE_BYTES)
        log.info("control socket at %s", self.path)

    async def stop(self) -> None:
        """Ends all conversations, removes the socket."""
        if self._server is None:
            return
        self._server.close()
        await self._clients.close()
        with contextlib.suppress(OSError):
            self.path.unlink()
        self._server = None

    async def run(self, up: Callable[[], None] = lambda: None) -> None:
        """Serves until cancelled; `up` is called once it listens."""
        await self.start()
        try:
            up()
            await asyncio.Event().wait()
        finally:
            await self.stop()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.spawn(self._serve(reader, writer), "client")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(self._read_deadline_s + self._handler_deadline_s):
                answer = await self._answer(reader, _peer(writer))
                writer.write(json.dumps(answer, separators=(",", ":")).encode() + b"\n")
                await writer.drain()
        except (TimeoutError, ConnectionError):
            log.info("a client of the control socket went away")
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, peer: str) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._read_deadline_s):
                line = await reader.readline()
        except TimeoutError:
            return _failure("usage", f"no command came within {self._read_deadline_s:g} s: send one line of JSON")
        except ValueError:  # StreamReader's limit
            return _failure("usage", f"a command has at most {MAX_LINE_BYTES} bytes: send less")
        if len(self._clients) > MAX_CLIENTS:
            self.refused += 1
            return _failure("failed", "the daemon is busy with other commands: try again")
        request = _parse(line)
        if isinstance(request, str):
            log.warning("control: bad request from %s: %s", peer, request)
            return _failure("usage", request)
        command, args = request
        log.log(logging.DEBUG if command == "status" else logging.INFO, "control: %s from %s", command, peer)
        return await self._handle(command, args)

    async def _handle(self, command: str, args: dict[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self._handler_deadline_s):
                return {"ok": True, "result": dict(await self._handler(command, args))}
        except UsageError as err:
            return _failure("usage", str(err))
        except SettingsError as err:
            return _failure("settings", str(err))
        except EdgeNodeError as err:
            return _failure("failed", str(err))
        except TimeoutError:
            return _failure("failed", f"{command} took more than {self._handler_deadline_s:g} s: look at the journal")
        except Exception:
            log.exception("control: %s failed", command)
            return _failure("failed", f"{command} failed inside the daemon: look at the journal and report a bug")


def _failure(kind: str, text: str) -> dict[str, Any]:
    return {"ok": False, "kind": kind, "error": text}


def _parse(line: bytes) -> tuple[str, dict[str, Any]] | str:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return "a command is one line of JSON"
    if not isinstance(request, dict):
        return "a command is a JSON object"
    command, args = request.get("command"), request.get("args", {})
    if command not in COMMANDS:
        return f"the daemon knows the commands {', '.join(COMMANDS)}"
    if not isinstance(args, dict):
        return "args is a JSON object"
    return command, args


def _peer(writer: asyncio.StreamWriter) -> str:
    """Who connected, as the kernel tells it (unix(7), SO_PEERCRED)."""
    credentials = struct.Struct("iII")
    raw = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    pid, uid, gid = credentials.unpack(raw)
    return f"pid {pid} uid {uid} gid {gid}"


def _bind(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise UsageError(f"the socket's path has more than {MAX_PATH_BYTES} bytes: choose a shorter one with --socket")
    _remove_stale(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.bind(str(path))
        path.chmod(SOCKET_MODE)  # nobody connects before listen(), which asyncio calls
    except OSError as err:
        listener.close()
        raise UsageError(f"{path} cannot be served ({err.strerror}): choose another with --socket") from None
    listener.setblocking(False)
    return listener


def _remove_stale(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as err:
            if err.errno in (errno.ENOENT, errno.ENOTDIR):
                return
            raise UsageError(f"{path} is no usable socket ({err.strerror}): choose another with --socket") from None
    raise UsageError(f"another edge-node already serves {path}: stop it, or choose another path with --socket")
