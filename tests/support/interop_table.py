"""The table of the interop matrix."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from tests.support.interop_call import FEATURES, Outcome
from tests.support.js_sdk import PINNED

HEAD = """# Interop matrix

Sender → receiver of the media; `<`: the sender's id is the smaller one. Every pair meets through our hub.
`n/a`: one of the two has no such codec.
"""


def merged(outcomes: Sequence[Outcome]) -> dict[str, dict[str, str]]:
    """Pair → feature → result; where several calls looked at the same, what is not ok wins."""
    table: dict[str, dict[str, str]] = {}
    for outcome in outcomes:
        row = table.setdefault(outcome.case.pair, {})
        for name, text in outcome.features.items():
            if row.get(name, "ok") == "ok":
                row[name] = text
    return table


def table(outcomes: Sequence[Outcome]) -> str:
    """The whole matrix as Markdown, failures explained below it."""
    rows = merged(outcomes)
    lines = [HEAD, f"| pair | {' | '.join(FEATURES)} |", f"|{'---|' * (len(FEATURES) + 1)}"]
    for pair, row in rows.items():
        cells = [row.get(name, "").partition(":")[0] for name in FEATURES]
        lines.append(f"| {pair} | {' | '.join(f'**{c}**' if c == 'failed' else c for c in cells)} |")
    lines += ["", *explained(outcomes), "", "Versions: " + ", ".join(versions())]
    return "\n".join(lines) + "\n"


def explained(outcomes: Sequence[Outcome]) -> list[str]:
    """One line for each failure and each known limit."""
    told = ("failed", "known")
    return [
        f"- {o.case}, {name}: {text}" for o in outcomes for name, text in o.features.items() if text.startswith(told)
    ]


def versions() -> list[str]:
    python = [f"{name} {version(name)}" for name in ("edge-node", "metered-realtime", "aiortc")]
    return python + [f"{name} {number}" for name, number in PINNED.items()]
