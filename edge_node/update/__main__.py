"""`python3 -m edge_node.update`: what runs outside the slots, before and beside the daemon."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from edge_node.errors import EdgeNodeError
from edge_node.update import show
from edge_node.update.bundle import BundleRefused
from edge_node.update.faults import Faults, this_end
from edge_node.update.progress import Progress
from edge_node.update.slots import Slots, this_python
from edge_node.update.updater import Updater
from edge_node.update.world import SOCKET, Systemd, World

ROOT = Path("/opt/edge-node")
TRUST = Path("/etc/edge-node/trust")
SHIPPED_TRUST = Path("/usr/share/edge-node/trust")
SETTINGS = Path("/etc/edge-node/edge-node.toml")
INTERRUPTED = 130
"""What a shell gives after SIGINT."""


def trusted(folders: Sequence[Path] = (TRUST, SHIPPED_TRUST)) -> list[Path]:
    """The public keys whose bundles are taken."""
    return [path for folder in folders for path in sorted(folder.glob("*.pem"))]


def main(argv: Sequence[str] | None = None, world: World | None = None) -> int:
    parser = argparse.ArgumentParser(prog="edge-node-slots", description="the slots of edge-node")
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--settings", type=Path, default=SETTINGS)
    parser.add_argument("--socket", type=Path, default=SOCKET)
    parser.add_argument("--trust", type=Path, action="append", help="folder with public keys")
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("guard", help="before every start: chooses the slot")
    commands.add_parser("ended", help="after every end: counts failures in a row, acts when there are many")
    commands.add_parser("settle", help="goes on with a trial that was cut off")
    commands.add_parser("status", help="what is in the slots")
    commands.add_parser("rollback", help="returns to the other slot")
    commands.add_parser("restart", help="starts the node again, when no call is on")
    for what in ("install", "apply"):
        command = commands.add_parser(what)
        command.add_argument("bundle", type=Path)
        command.add_argument("--allow-downgrade", action="store_true")
    args = parser.parse_args(argv)
    slots = Slots(args.root, this_python(), args.settings)
    try:
        with Progress(sys.stdout) as tell:
            return _run(args, slots, Updater(slots, world or Systemd(args.socket), tell))
    except BundleRefused as err:
        print(f"edge-node: {err}", file=sys.stderr)
        return 2
    except EdgeNodeError as err:
        print(f"edge-node: {err}", file=sys.stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as err:
        print(
            f"edge-node: the slots could not be written ({err}): look whether the disk is full (df) or worn (dmesg)",
            file=sys.stderr,
        )
    return 1


def _run(args: argparse.Namespace, slots: Slots, updater: Updater) -> int:
    keys = trusted(args.trust or (TRUST, SHIPPED_TRUST))
    match args.what:
        case "guard":
            _guard(slots)
        case "ended":
            if done := Faults(slots.root).ended(this_end()):
                print(done, flush=True)
        case "status":
            print(show.text(slots))
        case "settle":
            updater.settle()
        case "restart":
            updater.restart()
        case "install":
            updater.install(args.bundle, keys, downgrade=args.allow_downgrade)
        case "apply":
            return 0 if updater.apply(args.bundle, keys, downgrade=args.allow_downgrade) else 1
        case "rollback":
            return 0 if updater.rollback() else 1
    return 0


def _guard(slots: Slots) -> None:
    """Raises EdgeNodeError when no slot can run, OSError when none can be chosen."""
    faults = Faults(slots.root)
    try:
        if done := slots.guard(faults.early(slots.current())):
            print(done, flush=True)
        faults.started(str(slots.current()))
    except EdgeNodeError:
        faults.no_slot()
        raise
    except OSError as err:
        current = slots.current()
        if current is None or not slots.usable(current):
            raise
        print(f"edge-node: nothing can be written ({err}): slot {current} starts as it is", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
