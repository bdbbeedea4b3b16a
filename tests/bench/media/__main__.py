"""`python -m tests.bench.media`: see `--help`."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from tests.bench.media.awake import cores_awake
from tests.bench.media.bench import QUICK, Sizes, encoded, handthrough, memory, rtsp, write_clip
from tests.bench.media.viewing import delay, join
from tests.bench.runner import Report, add_sizes, present, sizes_of, words

PARTS = {part.__name__: part for part in (encoded, handthrough, rtsp, delay, join, memory)}

EPILOG = """with the default sizes: encoded 6 minutes, handthrough 6, rtsp 4, delay 4, join 2, memory 3; all 25.
A table alternates its contenders, one turn of each a round, and compares medians over the rounds."""


def _parser() -> argparse.ArgumentParser:
    parser = words("media", "What publishing costs, beside the official SDK's pipeline, aiortc's own sender and Janus.")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG
    add_sizes(parser, Sizes())
    parser.add_argument("--only", choices=PARTS, help="leave the other tables out")
    parser.add_argument(
        "--awake", action="store_true", help="keep the cores from halting: without what a hypervisor makes of that"
    )
    return parser


async def run(sizes: Sizes, only: str | None = None, *, quick: bool = False) -> Report:
    """The whole bench."""
    report = Report("media", quick)
    with tempfile.TemporaryDirectory() as folder:
        clip = await asyncio.to_thread(write_clip, Path(folder) / "clip.h264", sizes)
        for name, part in PARTS.items():
            if only in (None, name):
                await part(report, sizes, clip)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    with cores_awake() if args.awake else nullcontext():
        report = asyncio.run(run(sizes_of(args, Sizes(), QUICK), args.only, quick=args.quick))
    present(report, args.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
