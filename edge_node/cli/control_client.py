"""The other end of the control socket."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edge_node.errors import Bug, EdgeNodeError, RetryLater, SettingsError, UsageError
from edge_node.node.control import HANDLER_DEADLINE_S, MAX_PATH_BYTES, socket_paths

MAX_ANSWER_BYTES = 1 << 20


def find_socket(env: Mapping[str, str]) -> Path:
    """The first place where a socket is, else the first place where one should be."""
    paths = socket_paths(env)
    return next((path for path in paths if path.is_socket()), paths[0])


def call(
    path: Path, command: str, args: Mapping[str, Any] | None = None, timeout_s: float = HANDLER_DEADLINE_S + 2
) -> dict[str, Any]:
    """Sends one command to the daemon, gives its result.

    Raises RetryLater when no daemon answers, UsageError or SettingsError as the daemon does, EdgeNodeError otherwise.
    """
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise UsageError(f"the socket's path has more than {MAX_PATH_BYTES} bytes: name a shorter one with --socket")
    request = json.dumps({"command": command, "args": dict(args or {})}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as conversation:
        conversation.settimeout(timeout_s)
        try:
            conversation.connect(str(path))
            conversation.sendall(request)
            line = _read_line(conversation)
        except (FileNotFoundError, ConnectionRefusedError):
            raise RetryLater(f"no edge-node runs at {path}: start it, or name its socket with --socket") from None
        except PermissionError:
            raise UsageError(f"this user may not use {path}: run with sudo, or join the group edge-node") from None
        except TimeoutError:
            raise RetryLater(f"edge-node did not answer within {timeout_s:g} s: look at its journal") from None
        except OSError as err:
            raise RetryLater(f"the conversation over {path} broke ({err.strerror}): try again") from None
    return _result(line)


def _read_line(conversation: socket.socket) -> bytes:
    line = b""
    while not line.endswith(b"\n") and len(line) <= MAX_ANSWER_BYTES:
        block = conversation.recv(65536)
        if not block:
            break
        line += block
    return line


def _result(line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
        if answer["ok"]:
            return dict(answer["result"])
        kind, text = str(answer["kind"]), str(answer["error"])
    except (ValueError, KeyError, TypeError):
        raise RetryLater("edge-node ended the conversation without an answer: look at its journal") from None
    match kind:
        case "usage":
            raise UsageError(text)
        case "settings":
            raise SettingsError(text.split("\n"))
        case "failed":
            raise EdgeNodeError(text)
        case _:
            raise Bug(f"the daemon answered with the unknown kind {kind}: report a bug")
