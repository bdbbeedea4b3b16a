"""`edge-node firstboot`."""

from __future__ import annotations

import argparse
import time

from edge_node.host import journal
from edge_node.provision.disk import Disk
from edge_node.provision.firstboot import FirstBoot


def main(args: argparse.Namespace) -> int:
    """Takes over what the boot partition says; harmless when it says nothing."""
    journal.set_up("info")
    FirstBoot(args.root, Disk(), time.time()).run()
    return 0
