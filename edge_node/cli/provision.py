"""`edge-node provision`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from edge_node.errors import EdgeNodeError, SettingsError
from edge_node.provision import boot as card_writer
from edge_node.provision import fleet as fleets
from edge_node.provision.card import Card
from edge_node.provision.disk import Disk, UnsyncedDisk
from edge_node.provision.fleet import Row, Secrets
from edge_node.provision.folder import Result, verify, write_all


def main(args: argparse.Namespace) -> int:
    """0: everything was done; 1: a device failed; 78: something given is wrong, and nothing was written."""
    commands = {
        "template": _template,
        "new": _new,
        "batch": _batch,
        "write": _write,
        "verify": _verify,
        "labels": _labels,
        "manifest": _manifest,
    }
    return commands[args.what](args)


def _template(args: argparse.Namespace) -> int:
    print(fleets.CSV_TEMPLATE if args.csv else fleets.TEMPLATE, end="")
    return 0


def _new(args: argparse.Namespace) -> int:
    given = {name: getattr(args, name) for name in fleets.COLUMNS if getattr(args, name)}
    cards = _cards(args, [Row("this device", given)])
    status = _make(args, cards)
    if status == 0 and args.boot is not None and not args.dry_run:
        _onto(args.out / cards[0].id, args.boot, args)
    return status


def _batch(args: argparse.Namespace) -> int:
    cards = _cards(args, fleets.read_rows(args.table))
    status = _make(args, cards)
    names = {card.id for card in cards}
    for folder in sorted(args.out.iterdir()) if args.out.is_dir() else ():
        if folder.is_dir() and folder.name not in names:
            print(f"{folder} is not in the table: remove it, if its device is gone", file=sys.stderr)
    return status


def _cards(args: argparse.Namespace, rows: list[Row]) -> list[Card]:
    fleet = fleets.read_fleet(args.fleet)
    claims = fleets.read_claims(args.claims, time.time()) if args.claims else {}
    return fleets.build(fleet, rows, claims, Secrets(args.fleet.parent))


def _make(args: argparse.Namespace, cards: list[Card]) -> int:
    def tell(result: Result) -> None:
        would = "would be " if args.dry_run else ""
        if not args.json:
            print(f"{result.folder}: {would}{result.change}, generation {result.generation}")
        else:
            facts = {"id": result.folder.name, "change": result.change, "generation": result.generation}
            print(json.dumps(facts | {"dry_run": args.dry_run}))

    done, failed = write_all(cards, args.out, UnsyncedDisk(), dry=args.dry_run, told=tell)
    for problem in failed:
        print(f"edge-node: {problem}", file=sys.stderr)
    if not args.json:
        print(f"{done} of {len(cards)} devices are {'valid' if args.dry_run else 'written, read back'}")
    return 1 if failed else 0


def _write(args: argparse.Namespace) -> int:
    _onto(args.folder, args.boot, args)
    return 0


def _onto(folder: Path, boot: Path, args: argparse.Namespace) -> None:
    disk = Disk()
    plan = card_writer.plan(folder, boot, args.add, disk, force=args.force)
    if args.dry_run:
        print("\n".join(sorted(plan.files)))
        return
    card_writer.apply(plan, boot, disk)
    print(f"{boot} is the card of {plan.manifest.id}, generation {plan.manifest.generation}: take it out safely")
    if plan.backups:
        print(f"what was there before: {' '.join(name + card_writer.BACKUP for name in plan.backups)}")


def _verify(args: argparse.Namespace) -> int:
    folders = [args.path]
    if args.path.is_dir() and not (args.path / "edge-node").exists():
        folders = sorted(folder for folder in args.path.iterdir() if folder.is_dir())
    wrong = 0
    for folder in folders:
        try:
            found = verify(folder)
        except (EdgeNodeError, SettingsError) as err:
            wrong += 1
            print(f"edge-node: {err}", file=sys.stderr)
        else:
            print(f"{folder}: {found.id}, generation {found.generation}, {found.format}: all as written")
    if not folders:
        print(f"edge-node: {args.path} has nothing to verify", file=sys.stderr)
    return 1 if wrong or not folders else 0


def _labels(args: argparse.Namespace) -> int:
    from edge_node.provision.labels import write_labels

    print("\n".join(map(str, write_labels(args.folder, UnsyncedDisk()))))
    return 0


def _manifest(args: argparse.Namespace) -> int:
    from edge_node.provision.imager import manifest

    print(json.dumps(manifest(args.image, args.url or args.image.resolve().as_uri(), args.name, args.format), indent=1))
    return 0
