"""`edge-node simulate`."""

from __future__ import annotations

import argparse


def main(args: argparse.Namespace) -> int:
    """Runs edge_node.simulator.run.main(args)."""
    from edge_node.simulator import run

    return int(run.main(args) or 0)
