"""The commands `update apply`, `update status`, `update rollback`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from edge_node.errors import EdgeNodeError, UsageError
from edge_node.update import show
from edge_node.update.__main__ import SETTINGS, trusted
from edge_node.update.progress import Progress
from edge_node.update.slots import Slots, this_python
from edge_node.update.updater import Updater
from edge_node.update.world import SOCKET, Systemd


def main(args: argparse.Namespace) -> int:
    """0: the version asked for runs and has proved itself; 1: the old one goes on."""
    slots = Slots(args.root, this_python(), SETTINGS)
    if args.what == "status":
        print(json.dumps(show.dump(slots)) if args.json else show.text(slots))
        return 0
    _need_writable(args.root)
    try:
        with Progress(sys.stdout) as tell:
            updater = Updater(slots, Systemd(args.socket or SOCKET), tell)
            if args.what == "rollback":
                return 0 if updater.rollback() else 1
            return 0 if updater.apply(args.bundle, trusted(), downgrade=args.allow_downgrade) else 1
    except OSError as err:
        raise EdgeNodeError(f"the update could not be written ({err}): see edge-node update status") from None


def _need_writable(root: Path) -> None:
    """Raises UsageError."""
    if not root.is_dir():
        raise UsageError(f"there is no {root}: install the package of edge-node first")
    if not os.access(root, os.W_OK):
        remedy = "run it with sudo" if os.geteuid() else "its disk is read-only: look at dmesg, a worn card ends so"
        raise UsageError(f"{root} cannot be written: {remedy}")
