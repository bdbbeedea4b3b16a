"""What only the running machine tells: how its service is, whether its hub answers."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from edge_node.host.findings import Finding, Level

SERVICE, NETWORK = "service", "network"
UNIT = "edge-node.service"
PROPERTIES = ("LoadState", "ActiveState", "SubState", "UnitFileState", "StatusText", "Result", "NRestarts")
DEADLINE_S = 5.0
LOG = "journalctl -u edge-node -n 50"


@dataclass(frozen=True, slots=True)
class Live:
    """`unit` has systemd's PROPERTIES, nothing where it cannot be asked; `hub` is an address, empty when not tried."""

    unit: Mapping[str, str] | None = None
    hub: str = ""
    hub_problem: str | None = None

    @property
    def hub_answers(self) -> bool:
        return bool(self.hub) and self.hub_problem is None


def ask(hub: str | None) -> Live:
    """Asks systemd, connects to the hub and hangs up; takes some seconds at most."""
    return Live(ask_unit(), hub or "", reach(hub) if hub else None)


def ask_unit() -> Mapping[str, str] | None:
    """None where no systemd runs, or the service is not installed."""
    words = ["systemctl", "show", UNIT, f"--property={','.join(PROPERTIES)}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=DEADLINE_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    return found if found.get("LoadState") == "loaded" else None


def reach(url: str, deadline_s: float = DEADLINE_S) -> str | None:
    """Why the host of a ws or wss address does not answer; None when it does."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "wss" else 80)
    try:
        socket.create_connection((parts.hostname or "", port), timeout=deadline_s).close()
    except TimeoutError:
        return f"no answer within {deadline_s:g} s"
    except OSError as err:
        return err.strerror or str(err)
    except UnicodeError:  # of the codec idna: a label is empty, or longer than 63
        return "no host can have this name"
    return None


def check_service(live: Live) -> Iterator[Finding]:
    """Does it run, does it start by itself, what does it say of itself."""
    unit = live.unit
    if unit is None:
        return
    said, state = unit.get("StatusText", ""), unit.get("ActiveState", "")
    if state == "failed":
        todo = f"mend that, then run: sudo systemctl restart edge-node; more in: {LOG}"
        yield Finding(SERVICE, Level.PROBLEM, f"it failed ({unit.get('Result')}): {said or 'without a word'}", todo)
    elif state == "inactive":
        yield Finding(SERVICE, Level.PROBLEM, "it does not run", "run: sudo systemctl start edge-node")
    elif state != "active":
        again = f", {unit['NRestarts']} times so far" if unit.get("NRestarts", "0") != "0" else ""
        yield Finding(SERVICE, Level.PROBLEM, f"it is not up ({state}{again})", f"look why: {LOG}")
    elif "SAFE MODE" in said:
        yield Finding(SERVICE, Level.PROBLEM, said, f"look why: {LOG}; then run: sudo systemctl restart edge-node")
    elif "degraded" in said:
        yield Finding(SERVICE, Level.NOTE, said, "what is missing: sudo edge-node status")
    else:
        yield Finding(SERVICE, Level.OK, said or "it runs")
    if not unit.get("UnitFileState", "").startswith("enabled"):
        todo = "run: sudo systemctl enable edge-node"
        yield Finding(SERVICE, Level.NOTE, "it does not start by itself when the power comes back", todo)


def check_hub(live: Live) -> Iterator[Finding]:
    """Whether the channel's server takes connections."""
    if live.hub_answers:
        yield Finding(NETWORK, Level.OK, f"{live.hub} answers")
    elif live.hub:
        todo = "is it on, is channel.url right, does this machine have a network? the node keeps trying by itself"
        yield Finding(NETWORK, Level.PROBLEM, f"{live.hub} cannot be reached ({live.hub_problem})", todo)
