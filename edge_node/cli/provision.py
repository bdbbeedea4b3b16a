"""`edge-node provision`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from edge_node.errors import EdgeNodeError, SettingsError, UsageError
from edge_node.provision import boot as card_writer
from edge_node.provision import fleet as fleets
from edge_node.provision import image_card
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
    _check_target(args)
    given = {name: getattr(args, name) for name in fleets.COLUMNS if getattr(args, name)}
    cards = _cards(args, [Row("this device", given)])
    status = _make(args, cards)
    if status == 0 and (args.boot or args.image) and not args.dry_run:
        _onto(args.out / cards[0].id, args)
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
    _check_target(args)
    _onto(args.folder, args)
    return 0


def _check_target(args: argparse.Namespace) -> None:
    if args.image_out is not None and args.image is None:
        raise UsageError("--image-out wants --image, the image to begin with")


def _onto(folder: Path, args: argparse.Namespace) -> None:
    if args.image is not None:
        target: Path = args.image_out or args.image
        plan = image_card.write(folder, args.image, args.add, target, force=args.force, dry=args.dry_run)
        after = f"{target} is the image of {plan.manifest.id}, generation {plan.manifest.generation}: flash it"
    else:
        disk = Disk()
        plan = card_writer.plan(folder, args.boot, args.add, disk, force=args.force)
        if not args.dry_run:
            card_writer.apply(plan, args.boot, disk)
        generation = plan.manifest.generation
        after = f"{args.boot} is the card of {plan.manifest.id}, generation {generation}: take it out safely"
    if args.dry_run:
        print("\n".join(sorted(plan.files)))
        return
    print(after)
    if plan.backups:
        print(f"what was there before: {' '.join(name + card_writer.BACKUP for name in plan.backups)}")


def _verify(args: argparse.Namespace) -> int:
    place: Path = args.image or args.path
    folders, read = [place], image_card.read_back if args.image else verify
    if place.is_dir() and not (place / "edge-node").exists():
        folders = sorted(folder for folder in place.iterdir() if folder.is_dir())
    wrong = 0
    for folder in folders:
        try:
            found = read(folder)
        except (EdgeNodeError, SettingsError) as err:
            wrong += 1
            print(f"edge-node: {err}", file=sys.stderr)
        else:
            print(f"{folder}: {found.id}, generation {found.generation}, {found.format}: all as written")
    if not folders:
        print(f"edge-node: {place} has nothing to verify", file=sys.stderr)
    return 1 if wrong or not folders else 0


def _labels(args: argparse.Namespace) -> int:
    from edge_node.provision.labels import write_labels

    print("\n".join(map(str, write_labels(args.folder, UnsyncedDisk()))))
    return 0


def _manifest(args: argparse.Namespace) -> int:
    from edge_node.provision.imager import manifest

    print(json.dumps(manifest(args.image, args.url or args.image.resolve().as_uri(), args.name, args.format), indent=1))
    return 0
