"""`edge-node hub device`."""

from __future__ import annotations

import argparse
import json
import time

from edge_node.cli.common import printable
from edge_node.cli.hub_claim import day, register


def main(args: argparse.Namespace) -> int:
    """Lists or revokes nodes that enrolled; a running hub follows within two seconds."""
    path = register(args)
    from edge_node.hub.enrol_file import read_register, revoke_device

    if args.what == "revoke":
        device = revoke_device(path, args.id, time.time())
        print(json.dumps({"revoked": device.node}) if args.json else f"revoked: {device.node}")
        return 0
    devices = list(read_register(path).devices.values())
    if args.json:
        print(json.dumps({"file": str(path), "devices": [device.model_dump(mode="json") for device in devices]}))
        return 0
    for device in devices:
        state = f"revoked {day(device.revoked)}" if device.revoked is not None else f"since {day(device.enrolled)}"
        print(printable(f"{device.node}  {device.key[:16]}  {state}  {' '.join(device.channels)}", most=1000))
    if not devices:
        print(f"{path} has no devices: see edge-node hub claim")
    return 0
