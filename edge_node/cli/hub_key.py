"""`edge-node hub key`."""

from __future__ import annotations

import argparse
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edge_node.cli.common import printable
from edge_node.errors import UsageError

if TYPE_CHECKING:
    from edge_node.hub.key_file import StoredKey


def main(args: argparse.Namespace) -> int:
    """Makes, lists or revokes keys of the hub's key file; a running hub follows within two seconds."""
    try:
        from edge_node.hub.config import load_config
    except ImportError as err:
        raise UsageError(f"the hub needs {err.name}: install edge-node[hub]") from None
    path = args.file or load_config(args.config).keys.file
    assert path is not None  # load_config knows a place for it
    commands = {"new": _new, "list": _list, "revoke": _revoke}
    commands[args.what](args, path)
    return 0


def _new(args: argparse.Namespace, path: Path) -> None:
    from edge_node.hub.key_file import add_key, new_key

    key = new_key(time.time(), secret=args.secret, channels=args.channels, permissions=args.permissions, name=args.name)
    add_key(path, key)
    facts = {"id": key.id} | ({"secret": key.secret.get_secret_value()} if key.secret else {})
    if args.json:
        print(json.dumps(facts | {"file": str(path)}))
    else:
        print("\n".join(f"{name}: {value}" for name, value in facts.items()))


def _list(args: argparse.Namespace, path: Path) -> None:
    from edge_node.hub.key_file import read_keys

    keys = read_keys(path)
    if args.json:
        rows = [{**key.as_json(), "id": key.shown, "secret": key.secret is not None} for key in keys]
        print(json.dumps({"file": str(path), "keys": rows}))
        return
    for key in keys:
        print(_row(key))
    if not keys:
        print(f"{path} has no keys: make one with edge-node hub key new")


def _row(key: StoredKey) -> str:
    day = datetime.fromtimestamp(key.created, UTC).strftime("%Y-%m-%d") if key.created else "-"
    scope = f"{','.join(key.permissions)} on {' '.join(key.channels)}"
    kind = "secret" if key.secret else "publishable"
    return printable(f"{key.shown}  {kind}  {day}  {scope}  {key.name}".rstrip(), most=1000)


def _revoke(args: argparse.Namespace, path: Path) -> None:
    from edge_node.hub.key_file import revoke_key

    key = revoke_key(path, args.id)
    print(json.dumps({"revoked": key.shown}) if args.json else f"revoked: {key.shown}")
