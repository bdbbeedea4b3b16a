"""The command `edge-node`: reads the words, calls the command's own module, turns errors into an exit status."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

from edge_node.cli.parser import build_parser
from edge_node.errors import EdgeNodeError, SettingsError, UsageError

OK, FAILED, USAGE, CONFIG, INTERRUPTED = 0, 1, 2, 78, 130
"""Exit statuses; 78 is EX_CONFIG of sysexits.h, 130 what a shell gives after SIGINT."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. An EdgeNodeError becomes its text on stderr; only a bug shows a traceback."""
    args = build_parser().parse_args(argv)
    try:
        command = importlib.import_module(f"edge_node.cli.{args.module}")
        return int(command.main(args))
    except SettingsError as err:
        return _complain(CONFIG, *err.problems)
    except UsageError as err:
        return _complain(USAGE, str(err))
    except EdgeNodeError as err:
        return _complain(FAILED, str(err))
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; Python must not complain about it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _complain(status: int, *sentences: str) -> int:
    for sentence in sentences:
        print(f"edge-node: {sentence}", file=sys.stderr)
    return status
