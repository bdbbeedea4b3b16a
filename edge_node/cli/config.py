"""`edge-node config check | show | schema`."""

from __future__ import annotations

import argparse
import json

from edge_node.cli.common import config_or_none, printable
from edge_node.settings import json_schema, load


def main(args: argparse.Namespace) -> int:
    """Raises SettingsError when the settings are wrong."""
    match args.what:
        case "check":
            settings = load(args.config)
            from edge_node.node.build import check

            check(settings)
            print(f"{args.config} is fine: node {settings.node.id} on channel {printable(settings.channel.name)}")
        case "show":
            rows = load(config_or_none(args.config)).explain()
            if args.json:
                print(json.dumps([{"key": key, "value": value, "origin": origin} for key, value, origin in rows]))
            else:
                _print_table(rows)
        case _:
            print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
    return 0


def _print_table(rows: list[tuple[str, str, str]]) -> None:
    key_width = max(len(key) for key, _, _ in rows)
    value_width = min(40, max(len(value) for _, value, _ in rows))
    for key, value, origin in rows:
        print(f"{key:{key_width}}  {printable(value):{value_width}}  {origin}")
