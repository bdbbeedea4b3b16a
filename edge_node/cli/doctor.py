"""`edge-node doctor`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from edge_node.host.doctor import Doctor, Finding, Level

MARKS = {Level.OK: "ok", Level.NOTE: "note", Level.PROBLEM: "PROBLEM"}
COLOURS = {Level.OK: "\033[32m", Level.NOTE: "\033[33m", Level.PROBLEM: "\033[31m"}
PLAIN = "\033[0m"


def main(args: argparse.Namespace) -> int:
    """Prints what was found; finding problems is success."""
    findings = Doctor().examine()
    if args.json:
        print(json.dumps([as_json(finding) for finding in findings], indent=2))
    else:
        for line in as_lines(findings, colour=sys.stdout.isatty()):
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
