"""`edge-node snapshot`."""

from __future__ import annotations

import argparse
import base64
import os
import sys
import time
from pathlib import Path

from edge_node.cli.control_client import call, find_socket
from edge_node.errors import UsageError


def main(args: argparse.Namespace) -> int:
    """Writes the picture of this moment into a file, or to stdout; a file that is there already is replaced whole."""
    result = call(args.socket or find_socket(os.environ), "snapshot")
    jpeg = base64.b64decode(result["jpeg"])
    if args.output == Path("-"):
        sys.stdout.buffer.write(jpeg)
        sys.stdout.buffer.flush()
        return 0
    path = args.output or Path(time.strftime("snapshot-%Y%m%d-%H%M%S.jpg"))
    half = path.with_name(f".{path.name}.part")
    try:
        half.write_bytes(jpeg)
        half.replace(path)
    except OSError as err:
        half.unlink(missing_ok=True)
        raise UsageError(f"{path} cannot be written ({err.strerror}): name another file with --output") from None
    print(f"{path}: {result['width_px']}x{result['height_px']}, {len(jpeg)} bytes, {result['age_s']:.2f} s old")
    return 0
