"""`python -m tests.bench.network`: see `--help`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.bench.network import lab as laboratory
from tests.bench.network.browser import clean, far, loss, narrow, queue
from tests.bench.network.lab import Lab
from tests.bench.network.others import growth, others, relay
from tests.bench.network.sizes import QUICK, Sizes
from tests.bench.runner import Report, add_sizes, present, sizes_of, words
from tests.support.browser import chromium

IN_BROWSER = {part.__name__: part for part in (clean, loss, far, queue, narrow)}
PARTS = {**IN_BROWSER, **{part.__name__: part for part in (others, relay, growth)}}

EPILOG = """at default sizes: clean 3 minutes, loss 6, far 4, queue 4, narrow 7, others 2, relay 4, all 30; growth 11.
A part alternates its contenders, one run of each a round; numbers are medians over the rounds, beside the worst."""


def _parser() -> argparse.ArgumentParser:
    parser = words("network", "What Chromium sees over bad networks, a relay's cost, what one viewer does to others.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_sizes(parser, Sizes())
    parser.add_argument("--only", choices=PARTS, help="one part; growth runs only when named")
    return parser


async def run(sizes: Sizes, only: str | None = None, *, quick: bool = False) -> Report:
    """The whole bench, or one part of it."""
    report = Report("network", quick)
    wanted = [name for name in PARTS if only == name or (only is None and name != growth.__name__)]
    with tempfile.TemporaryDirectory() as folder:
        lab = Lab(Path(folder), (sizes.width_px, sizes.height_px))
        if reason := laboratory.missing():
            report.reasons += [f"{name}: {reason}" for name in wanted if name in IN_BROWSER]
            wanted = [name for name in wanted if name not in IN_BROWSER]
        for name in wanted:
            if name not in IN_BROWSER:
                await PARTS[name](report, sizes, lab)
                continue
            async with chromium("--autoplay-policy=no-user-gesture-required") as browser:
                lab.opened = await browser.new_page()
                await lab.page.add_script_tag(content=laboratory.SCRIPT)
                await PARTS[name](report, sizes, lab)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    report = asyncio.run(run(sizes_of(args, Sizes(), QUICK), args.only, quick=args.quick))
    present(report, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
