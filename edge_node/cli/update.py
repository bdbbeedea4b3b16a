"""The commands `update apply`, `update status`, `update rollback`."""

from __future__ import annotations

import argparse
import json
import os

from edge_node.errors import UsageError
from edge_node.update import show
from edge_node.update.__main__ import SETTINGS, trusted
from edge_node.update.slots import Slots, this_python
from edge_node.update.updater import Updater
from edge_node.update.world import SOCKET, Systemd


def main(args: argparse.Namespace) -> int:
    """0: the version asked for runs and has proved itself; 1: the old one goes on."""
    slots = Slots(args.root, this_python(), SETTINGS)
    if args.what == "status":
        print(json.dumps(show.dump(slots)) if args.json else show.text(slots))
        return 0
    if not os.access(args.root, os.W_OK):
        raise UsageError(
            f"{args.root} cannot be written: run it with sudo, where edge-node was installed by its package"
        )
    updater = Updater(slots, Systemd(args.socket or SOCKET), lambda line: print(line, flush=True))
    if args.what == "rollback":
        return 0 if updater.rollback() else 1
    return 0 if updater.apply(args.bundle, trusted(), downgrade=args.allow_downgrade) else 1
