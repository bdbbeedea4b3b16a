"""`edge-node hub claim`."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from edge_node.cli.common import printable
from edge_node.errors import UsageError

COLUMNS = ("node", "code", "expires")


def main(args: argparse.Namespace) -> int:
    """Makes, lists or revokes claims; a running hub follows within two seconds."""
    path = register(args)
    {"new": _new, "list": _list, "revoke": _revoke}[args.what](args, path)
    return 0


def register(args: argparse.Namespace) -> Path:
    """The file beside the hub's key file."""
    try:
        from edge_node.hub.config import load_config
        from edge_node.hub.enrol_file import ENROL_FILE
    except ImportError as err:
        raise UsageError(f"the hub needs {err.name}: install edge-node[hub]") from None
    if args.file is not None:
        return Path(args.file)
    keys = load_config(args.config).keys.file
    assert keys is not None  # load_config knows a place for it
    return keys.with_name(ENROL_FILE)


def _new(args: argparse.Namespace, path: Path) -> None:
    from edge_node.hub.enrol_file import add_claims, new_claim

    nodes = [*args.nodes, *(_ids(args.fleet) if args.fleet else ())]
    if not nodes:
        raise UsageError("name the nodes, or a file with them: edge-node hub claim new gate-1, or --fleet fleet.csv")
    if twice := sorted({node for node in nodes if nodes.count(node) > 1}):
        raise UsageError(f"{', '.join(twice)} is named twice: give each node one claim")
    now = time.time()
    made = [
        new_claim(now, node, hours=args.hours, channels=args.channels, permissions=args.permissions) for node in nodes
    ]
    rows = [{"node": claim.node, "code": code, "expires": str(claim.expires)} for claim, code in made]
    # First the file: a code that is in the register alone would be lost, one that is in the file alone does nothing.
    if args.out is not None:
        _append(args.out, rows)
    add_claims(path, [claim for claim, _ in made], now)
    if args.json:
        print(json.dumps({"file": str(args.out or path), "claims": [] if args.out else rows}))
    elif args.out is not None:
        print(f"{len(rows)} claims are in {args.out}: it opens the hub, so keep it to yourself")
    else:
        print("\n".join(f"{row['node']}: {row['code']}" for row in rows))


def _ids(path: Path) -> Sequence[str]:
    try:
        rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError, csv.Error):
        raise UsageError(f"{path} cannot be read: name a file of comma-separated values with a column id") from None
    if not rows or "id" not in rows[0]:
        raise UsageError(f"{path} has no column id: see edge-node provision template --csv")
    return [(row["id"] or "").strip() for row in rows]


def _append(path: Path, rows: Sequence[dict[str, str]]) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "a", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if os.fstat(handle).st_size == 0:
                writer.writeheader()
            writer.writerows(rows)
    except OSError as err:
        raise UsageError(f"{path} cannot be written ({err.strerror}): name another with --out") from None


def _list(args: argparse.Namespace, path: Path) -> None:
    from edge_node.hub.enrol_file import read_register

    claims, now = list(read_register(path).claims.values()), time.time()
    if args.json:
        print(json.dumps({"file": str(path), "claims": [c.model_dump(mode="json", exclude={"hash"}) for c in claims]}))
        return
    for claim in claims:
        state = f"used {day(claim.used)}" if claim.used is not None else f"until {day(claim.expires)}"
        state = "expired" if claim.used is None and claim.expires <= now else state
        print(printable(f"{claim.id}  {claim.node}  {state}  {' '.join(claim.channels)}", most=1000))
    if not claims:
        print(f"{path} has no claims: make one with edge-node hub claim new NODE")


def day(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _revoke(args: argparse.Namespace, path: Path) -> None:
    from edge_node.hub.enrol_file import revoke_claims

    gone = [claim.id for claim in revoke_claims(path, args.id)]
    print(json.dumps({"revoked": gone}) if args.json else f"revoked: {' '.join(gone)}")
