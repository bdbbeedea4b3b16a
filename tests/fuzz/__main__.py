"""`python -m tests.fuzz --frames 1000000 --seed 1`: garbage into the codec, the hub's machine, the client's session."""

from __future__ import annotations

import argparse
import random
import sys
import traceback
from collections.abc import Sequence

from tests.fuzz.run import Failed, fuzz


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000, metavar="N", help="default 1000000")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(1 << 32), metavar="N", help="default: a random one"
    )
    args = parser.parse_args(argv)
    print(f"seed {args.seed}", flush=True)

    def tell(done: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done:,}", end="", file=sys.stderr, flush=True)

    try:
        outcome = fuzz(args.frames, args.seed, tell)
    except Failed as failed:
        traceback.print_exception(failed)
        return 1
    for name, number in sorted(outcome.high_water.items()):
        print(f"  {name}: {number:,}")
    print(
        f"{outcome.frames:,} frames in {outcome.seconds:.0f} s: no exception, "
        f"{outcome.growth_blocks} memory blocks more at the end than halfway"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
