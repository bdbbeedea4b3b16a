"""The running daemon, as an updater meets it."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

from edge_node.errors import EdgeNodeError

UNIT = "edge-node.service"
HUB = "edge-node-hub.service"
"""Runs from the same slot, which the update after the next empties."""
SOCKET = Path("/run/edge-node/control.sock")
ANSWER_DEADLINE_S = 5.0
RESTART_DEADLINE_S = 150.0
MAX_ANSWER_BYTES = 1 << 20


class World(Protocol):
    """What an update does to the world besides files."""

    def status(self) -> dict[str, Any] | None:
        """What the daemon says of itself; None while none answers."""
        ...

    def restart(self) -> None:
        """Starts what `current` names now. Raises EdgeNodeError."""
        ...

    def now(self) -> float:
        """Seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None: ...


def _is_status(value: Any) -> bool:
    """Whether it is built like one: a version on trial may say anything."""
    if not isinstance(value, dict):
        return False
    tables = [value.get(name, {}) for name in ("node", "channel", "call", "parts")]
    if not all(isinstance(table, dict) for table in tables):
        return False
    parts_are_tables = all(isinstance(part, dict) for part in tables[-1].values())
    return parts_are_tables and isinstance(value.get("uptime_s", 0), int | float)


class Systemd:
    """The daemon as a unit of systemd."""

    def __init__(self, path: Path = SOCKET, systemctl: str = "systemctl") -> None:
        self._path = path
        self._systemctl = systemctl

    def status(self) -> dict[str, Any] | None:
        line = b""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as conversation:
                conversation.settimeout(ANSWER_DEADLINE_S)
                conversation.connect(str(self._path))
                conversation.sendall(b'{"command": "status", "args": {}}\n')
                while not line.endswith(b"\n") and len(line) < MAX_ANSWER_BYTES:
                    block = conversation.recv(65536)
                    if not block:
                        break
                    line += block
            answer = json.loads(line)
            return answer["result"] if answer["ok"] and _is_status(answer["result"]) else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def restart(self) -> None:
        try:
            self._run("--no-block", "try-restart", HUB)
            done = self._run("restart", UNIT)
        except (OSError, subprocess.TimeoutExpired) as err:
            raise EdgeNodeError(f"{UNIT} could not be restarted ({err}): restart it yourself") from None
        if done.returncode:
            raise EdgeNodeError(f"{UNIT} did not start ({done.stderr.strip()}): see journalctl -u edge-node")

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [self._systemctl, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=RESTART_DEADLINE_S, check=False)

    def now(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
