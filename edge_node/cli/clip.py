"""`edge-node clip`."""

from __future__ import annotations

import argparse
import json
import os
import time

from edge_node.cli.common import printable
from edge_node.cli.control_client import call, find_socket


def main(args: argparse.Namespace) -> int:
    """Lists the daemon's clips, records one, or removes one."""
    words = {"what": args.what} | ({"name": args.name} if args.what == "delete" else {})
    result = call(args.socket or find_socket(os.environ), "clip", words)
    if args.what == "list" and args.json:
        print(json.dumps(result))
    elif args.what == "list":
        for clip in result["clips"]:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(clip["at"])))
            print(f"{when}  {int(clip['bytes']) / 1e6:7.1f} MB  {printable(str(clip['name']))}")
        print("a clip is being recorded" if result["recording"] else f"{len(result['clips'])} clips")
    elif text := result.get("result"):
        print(printable(str(text), 1000))
    return 0
