"""`python -m tests.bench.audio`: see `--help`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from tests.bench.audio.bench import QUICK, Sizes, connected, delay, mixed, published, stalling
from tests.bench.runner import Report, add_sizes, present, sizes_of, words

PARTS = (delay, mixed, connected, published, stalling)


def _parser() -> argparse.ArgumentParser:
    parser = words(
        "audio", "Delay at the devices beside the official SDK, the cost of mixing and of publishing, a stalling call."
    )
    add_sizes(parser, Sizes())
    parser.add_argument("--no-stock", dest="stock", action="store_false", default=None, help="our SDK alone")
    parser.add_argument("--only", choices=[part.__name__ for part in PARTS], help="leave the other parts out")
    return parser


async def run(sizes: Sizes, only: str | None = None, quick: bool = False) -> Report:
    """The whole bench."""
    report = Report("audio", quick)
    for part in PARTS:
        if only in (None, part.__name__):
            await part(report, sizes)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    report = asyncio.run(run(sizes_of(args, Sizes(), QUICK), args.only, args.quick))
    present(report, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
