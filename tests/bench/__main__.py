"""`python -m tests.bench [NAME] [--json] [--quick] [words…]`: one bench, or all of them in turn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from tests.bench.runner import names


def main(argv: Sequence[str]) -> int:
    """The first exit status that is not 0, if there is one."""
    wanted, words = (argv[:1], argv[1:]) if argv and not argv[0].startswith("-") else (names(), argv)
    for name in wanted:
        if name not in names():
            print(f'there is no bench "{name}": choose from {", ".join(names())}', file=sys.stderr)
            return 2
        if status := subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *words], check=False).returncode:
            return status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
