"""The commands that talk to the running daemon: status, press, answer, hangup, open, privacy, reload."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

from edge_node.cli.common import printable
from edge_node.cli.control_client import call, find_socket


def main(args: argparse.Namespace) -> int:
    """Sends the command over the control socket; prints what it gives, if anything."""
    words = {name: value for name in ("button", "door", "state") if (value := getattr(args, name, None)) is not None}
    result = call(args.socket or find_socket(os.environ), args.command, words)
    if args.command == "status" and args.json:
        print(json.dumps(result))
    elif args.command == "status":
        for line in status_lines(result):
            print(line)
    elif text := result.get("result"):
        print(printable(str(text), 1000))
    return 0


def status_lines(result: dict[str, Any]) -> list[str]:
    """The daemon's own line, then one line per degraded part, then what to change at the camera."""
    lines = [str(result.get("line", "running"))]
    lines += [f"degraded: {reason}" for reason in result.get("degraded", [])]
    if warning := result.get("video", {}).get("warning"):
        lines.append(f"camera: {warning}")
    return [printable(line, 1000) for line in lines]
