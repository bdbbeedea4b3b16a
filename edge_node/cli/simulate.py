"""`edge-node simulate`."""

from __future__ import annotations

import argparse


def main(args: argparse.Namespace) -> int:
    """The whole appliance in one process, until SIGINT or --duration.."""
    from edge_node.simulator.run import main as simulate

    return simulate(args)
