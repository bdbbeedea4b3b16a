"""What every bench shares: its words, its report as a table or as JSON, the numbers of a process."""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
S = TypeVar("S", bound="DataclassInstance")
HOLDS = {None: "", True: "yes", False: "NO"}


@dataclass(frozen=True, slots=True)
class Row:
    """One number: what was measured, how much, of what; `note` says what it has to be compared with.

    `limit` is what it may be at most, as `<= 0.65`, or at least, as `>= 30`; `holds` says whether it is.
    """

    name: str
    value: float | str
    unit: str = ""
    note: str = ""
    limit: str = ""
    holds: bool | None = None


@dataclass(slots=True)
class Report:
    """Everything one bench has found; `reasons` are what it could not measure, with why.

    A `quick` run judges nothing.
    """

    bench: str
    quick: bool = False
    rows: list[Row] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def add(self, name: str, value: float | str, unit: str = "", note: str = "") -> None:
        self.rows.append(Row(name, value, unit, note))

    def judge(
        self, name: str, value: float, unit: str = "", note: str = "", *,
        at_most: float | None = None, at_least: float | None = None,
    ) -> None:  # fmt: skip
        """A number with a limit; without one it is like add()."""
        limits = [f"{sign} {limit:g}" for sign, limit in (("<=", at_most), (">=", at_least)) if limit is not None]
        if self.quick or not limits:
            self.add(name, value, unit, note)
            return
        holds = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        self.rows.append(Row(name, value, unit, note, " and ".join(limits), holds))

    def value(self, name: str) -> float:
        """A number by its name."""
        (found,) = (row.value for row in self.rows if row.name == name)
        return float(found)

    @property
    def as_json(self) -> dict[str, Any]:
        rows = [
            {"name": r.name, "value": r.value, "unit": r.unit, "note": r.note}
            | ({} if r.holds is None else {"limit": r.limit, "holds": r.holds})
            for r in self.rows
        ]
        return {"bench": self.bench, "machine": machine(), "rows": rows, "not_measured": self.reasons}

    @property
    def as_table(self) -> str:
        judged = any(row.holds is not None for row in self.rows)
        texts = [(r.name, _number(r.value), r.unit, r.limit, HOLDS[r.holds], r.note) for r in self.rows]
        if judged:
            texts.insert(0, ("", "", "", "limit", "holds", ""))
        widths = [max((len(text[i]) for text in texts), default=0) for i in range(5)]
        lines = [f"{self.bench}: {machine()}"]
        for name, value, unit, limit, holds, note in texts:
            verdict = f"  {limit:<{widths[3]}}  {holds:<{widths[4]}}" if judged else ""
            line = f"  {name:<{widths[0]}}  {value:>{widths[1]}} {unit:<{widths[2]}}{verdict}  {note}"
            lines.append(line.rstrip())
        return "\n".join([*lines, *(f"  not measured: {reason}" for reason in self.reasons)])


def _number(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def machine() -> str:
    """Where it was measured."""
    return f"{os.cpu_count()} CPUs, {platform.machine()}, Python {platform.python_version()}"


def words(bench: str, about: str) -> argparse.ArgumentParser:
    """The words that every bench understands: --json and --quick."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.bench.{bench}", description=about)
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--quick", action="store_true", help="a small version that only shows that it works")
    return parser


def add_sizes(parser: argparse.ArgumentParser, usual: DataclassInstance) -> None:
    """A word for each size that is a number; sizes_of() reads them."""
    for item in fields(usual):
        if (kind := type(item.default)) is not bool:
            name = f"--{item.name.replace('_', '-')}"
            parser.add_argument(name, type=kind, metavar="N", help=f"default {item.default}")


def sizes_of(args: argparse.Namespace, usual: S, quick: S) -> S:
    """Those of --quick, or the usual ones, with what was given."""
    given = {item.name: getattr(args, item.name, None) for item in fields(usual)}
    return replace(
        quick if args.quick else usual, **{name: value for name, value in given.items() if value is not None}
    )


def present(report: Report, as_json: bool) -> None:
    print(json.dumps(report.as_json) if as_json else report.as_table, flush=True)


def raise_file_limit() -> int:
    """Lets this process and its children open as many files as the system allows; gives that number."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def cpu_s(pid: int) -> float:
    """CPU time of a process in user and system mode since its start, in seconds (proc(5): fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def names() -> list[str]:
    """The benches of this checkout: every folder here that is a program."""
    return sorted(path.parent.name for path in Path(__file__).parent.glob("*/__main__.py"))
