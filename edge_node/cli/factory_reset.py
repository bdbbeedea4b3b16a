"""The command `factory-reset`."""

from __future__ import annotations

import argparse
import os
import sys

from edge_node.errors import UsageError
from edge_node.provision.reset import found, reset


def main(args: argparse.Namespace) -> int:
    """Asks once, unless told --yes; then there is no way back."""
    if args.root == args.root.parent and os.geteuid() != 0:
        raise UsageError("a factory reset needs root: sudo edge-node factory-reset")
    if not args.yes:
        for path in found(args.root, args.keep_wifi):
            print(path)
        if not sys.stdin.isatty():
            raise UsageError("that is what would be deleted: say --yes to do it")
        try:
            answer = input('Type "reset" to delete all of this: ')
        except EOFError:
            answer = ""
        if answer.strip() != "reset":
            print("nothing was deleted")
            return 1
    print(f"{reset(args.root, keep_wifi=args.keep_wifi)} deleted; the program, trusted publishers and accounts stay")
    print("it has no identity any more: provision this device again, or write its settings")
    return 0
