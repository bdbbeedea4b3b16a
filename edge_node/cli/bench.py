"""`edge-node bench`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import edge_node
from edge_node.errors import UsageError


def main(args: argparse.Namespace) -> int:
    """Runs the benches of the checkout that this package is imported from. Raises UsageError outside of one."""
    root = Path(edge_node.__file__).resolve().parent.parent
    if not (root / "tests" / "bench" / "__main__.py").exists():
        raise UsageError("the benches are not part of an installed package: run this command from a checkout")
    flags = [f"--{flag}" for flag in ("json", "quick") if getattr(args, flag)]
    words = [args.name, *flags, *args.words] if args.name else flags
    return subprocess.run([sys.executable, "-m", "tests.bench", *words], cwd=root, check=False).returncode
