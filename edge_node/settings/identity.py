"""A stable default name for this machine."""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path

MACHINE_ID = Path("/etc/machine-id")


def default_node_id(machine_id: Path = MACHINE_ID) -> str:
    """`node-` with eight hex digits, the same at every start.

    The machine id itself stays at home: machine-id(5) asks for a keyed hash wherever it would leave the machine.
    """
    try:
        secret = machine_id.read_text().strip()
    except OSError:
        secret = ""
    seed = secret or socket.gethostname()
    return "node-" + hashlib.sha256(f"edge-node:{seed}".encode()).hexdigest()[:8]
