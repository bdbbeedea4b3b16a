"""`python -m tests.bench.hub`: see `--help`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.hub.bench import QUICK, Sizes, crowd, fan_out
from tests.bench.runner import Report, add_sizes, present, raise_file_limit, sizes_of, words

# A client costs one file here and one in the hub, which is another process.
SPARE_FILES = 200


def _parser() -> argparse.ArgumentParser:
    parser = words("hub", "A crowd with presence on our hub, then a fan-out side by side with mosquitto.")
    add_sizes(parser, Sizes())
    parser.add_argument("--only", choices=("crowd", "fan-out"), help="leave the other part out")
    return parser


async def run(sizes: Sizes, only: str | None = None) -> Report:
    """The whole bench."""
    report = Report("hub")
    limit = raise_file_limit()
    if max(sizes.clients, 2 * sizes.subscribers) + SPARE_FILES > limit:
        raise SystemExit(f"only {limit} files may be open: raise it with ulimit -n, or use fewer --clients")
    with tempfile.TemporaryDirectory(prefix="edge-node-bench-") as folder:
        if only != "fan-out":
            await crowd(report, sizes, Path(folder))
        if only != "crowd":
            await fan_out(report, sizes, Path(folder))
    report.add("file limit", limit, "files", "per process")
    return report


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    report = asyncio.run(run(sizes_of(args, Sizes(), QUICK), args.only))
    present(report, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
