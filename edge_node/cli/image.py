"""`edge-node image build` and `edge-node image verify`."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from edge_node.errors import UsageError
from edge_node.provision import image, image_check

CHECKOUT = Path(__file__).resolve().parents[2]


def main(args: argparse.Namespace) -> int:
    """0: made, or all is as it has to be; 1: something is not."""
    return _verify(args) if args.what == "verify" else _build(args)


def _build(args: argparse.Namespace) -> int:
    if not (CHECKOUT / "provisioning/image/packages.txt").is_file():
        raise UsageError("images are made from a checkout: run it there, with .venv/bin/edge-node")
    given = (args.deb or _newest("edge-node_*_all.deb"), args.bundle or _newest("edge-node-*-aarch64-cp313.tar"))
    cache = args.cache or image.CACHE
    recipe = image.Recipe(
        CHECKOUT, *given, args.size, args.read_only_root, cache, args.mirror or image.machine_mirror()
    )
    os.umask(0o022)  # others than root read the image's files, the daemon first of all
    began = time.monotonic()
    image.build(args.out, recipe, lambda line: print(line, flush=True))
    taken = args.out.stat()
    seconds = time.monotonic() - began
    print(f"{args.out}: {taken.st_size >> 20} MiB, {taken.st_blocks * 512 >> 20} MiB on disk, in {seconds:.0f} s")
    return 0


def _newest(pattern: str) -> Path:
    found = sorted((CHECKOUT / "dist").glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError(f"dist/ has no {pattern}: run bash provisioning/package.sh, or give --deb and --bundle")
    return found[-1]


def _verify(args: argparse.Namespace) -> int:
    findings = image_check.verify(args.file)
    if args.json:
        print(image_check.as_json(findings))
    else:
        print("\n".join(f"{'ok    ' if finding.ok else 'NOT OK'} {finding.text}" for finding in findings))
    return 0 if all(finding.ok for finding in findings) else 1
