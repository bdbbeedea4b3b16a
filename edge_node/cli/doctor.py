"""`edge-node doctor`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from edge_node.cli.common import config_or_none
from edge_node.cli.doctor_site import Examined, examine_settings
from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.host.doctor import Doctor
from edge_node.host.findings import Finding, Level
from edge_node.host.live_check import Live, ask
from edge_node.settings import load

MARKS = {Level.OK: "ok", Level.NOTE: "note", Level.PROBLEM: "PROBLEM"}
COLOURS = {Level.OK: "\033[32m", Level.NOTE: "\033[33m", Level.PROBLEM: "\033[31m"}
PLAIN = "\033[0m"


def main(args: argparse.Namespace) -> int:
    """Prints what was found; finding problems is success, except with --check."""
    if args.audio:
        return audio(args)
    root: Path = args.root
    try:
        path = config_or_none(args.config) if root == Path("/") else args.config
        examined = examine_settings(path, load, root)
    except PermissionError:
        unread = Finding("settings", Level.NOTE, "only root may read them", "run: sudo edge-node doctor")
        examined = Examined(examine_settings(None, load, root).site, [unread], None)
    live = ask(examined.hub) if root == Path("/") else Live()
    findings = [*Doctor(root, site=examined.site, live=live).examine(), *examined.findings]
    if args.json:
        print(json.dumps([as_json(finding) for finding in findings], indent=2))
    else:
        for line in as_lines(findings, colour=sys.stdout.isatty()):
            print(line)
    return 1 if args.check and any(finding.level is Level.PROBLEM for finding in findings) else 0


def audio(args: argparse.Namespace) -> int:
    """Plays a sound, records it, prints what that says. Raises SettingsError for a wrong file."""
    from edge_node.cli.doctor_audio import AREA, findings
    from edge_node.media.sound_check import check_sound

    path = config_or_none(args.config)
    settings = None if path is None else load(path).audio
    microphone = args.microphone or (settings.microphone if settings else "default")
    speaker = args.speaker or (settings.speaker if settings else "default")
    if not args.json:
        print("You hear a chirp, five seconds of noise and a chirp …", flush=True)
    measured = None
    try:
        checked = asyncio.run(check_sound(microphone, speaker))
        found, measured = findings(checked), asdict(checked)
    except (DeviceMissing, DeviceLost) as err:
        todo = "while the node runs it holds the devices: sudo systemctl stop edge-node"
        found = [Finding(AREA, Level.PROBLEM, str(err), todo)]
    if args.json:
        print(json.dumps({"measured": measured, "findings": [as_json(finding) for finding in found]}, indent=2))
    else:
        for line in as_lines(found, colour=sys.stdout.isatty()):
            print(line)
    return 0


def as_json(finding: Finding) -> dict[str, str]:
    """Area, level, text, todo."""
    return {"area": finding.area, "level": finding.level.value, "text": finding.text, "todo": finding.todo}


def as_lines(findings: Sequence[Finding], colour: bool) -> list[str]:
    """One line each, what to do on a line of its own."""
    lines = []
    for finding in findings:
        mark = f"{MARKS[finding.level]:8}"
        if colour:
            mark = f"{COLOURS[finding.level]}{mark}{PLAIN}"
        lines.append(f"{mark}{finding.area:9}{finding.text}")
        if finding.todo:
            lines.append(f"{'':17}{finding.todo}")
    return lines
