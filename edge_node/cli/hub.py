"""`edge-node hub`."""

from __future__ import annotations

import argparse
import asyncio
import json
from typing import TYPE_CHECKING

from edge_node.errors import UsageError
from edge_node.host import journal

if TYPE_CHECKING:
    from edge_node.hub.server import Hub


def main(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT."""
    try:
        from edge_node.hub.config import load_config
        from edge_node.hub.service import run_hub
    except ImportError as err:
        raise UsageError(f"the hub needs {err.name}: install edge-node[hub]") from None
    config = load_config(
        args.config,
        host=args.host,
        port=args.port,
        dev_key=args.dev_key,
        insecure_dev_key=args.insecure_dev_key,
    )
    journal.set_up("info")

    def announce(hub: Hub) -> None:
        # The address with the access code is for whoever has no other way to know it.
        facts = {"hub": hub.url, "console": hub.console_url if config.console.code is None else hub.http_url}
        if config.dev_key is None and hub.dev_key is not None:
            facts["key"] = hub.dev_key  # drawn just now: nobody could join without knowing it
        if hub.ca_url is not None:
            facts["ca"] = hub.ca_url
        if args.json:
            print(json.dumps({"event": "ready", **facts}), flush=True)
        else:
            print("\n".join(f"{name}: {value}" for name, value in facts.items()), flush=True)

    asyncio.run(run_hub(config, announce))
    return 0
