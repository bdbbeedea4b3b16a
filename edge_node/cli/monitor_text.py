"""The table of `edge-node monitor` as text."""

from __future__ import annotations

from collections.abc import Sequence

from edge_node.cli.common import printable
from edge_node.telemetry.table import Row

UNKNOWN = "-"
GAP = "  "
MAX_NAME_CHARS = 24
HEADS = ("NODE", "STATE", "AGE", "VIEWERS", "FPS", "KBPS", "RTT", "LOSS", "CPU", "TEMP", "WI-FI", "NOTES")


def render(rows: Sequence[Row], channel: str, width: int) -> list[str]:
    """A line that says what is followed, then the table cut to `width` columns."""
    count = f"{len(rows)} node" + ("" if len(rows) == 1 else "s")
    title = f"{printable(channel)}: {count}" if rows else f"{printable(channel)}: waiting for the first sample"
    table = [HEADS, *(cells(row) for row in rows)] if rows else []
    widths = [max(len(line[column]) for line in table) for column in range(len(HEADS))] if table else []
    lines = [GAP.join(f"{cell:{size}}" for cell, size in zip(line, widths, strict=True)) for line in table]
    return [line.rstrip()[:width] for line in (title, *lines)]


def cells(row: Row) -> tuple[str, ...]:
    """One row as words, `-` for what the node does not know."""
    limited = () if row.limited_by is None else (f"picture limited by {row.limited_by}",)
    notes = "; ".join((*row.degraded, *row.throttled, *limited))
    return (
        printable(row.node, MAX_NAME_CHARS),
        printable(row.state, MAX_NAME_CHARS),
        age(row.age_s),
        with_unit(row.viewers, ""),
        with_unit(row.fps, "", 1),
        with_unit(row.kbps, ""),
        with_unit(row.rtt_ms, " ms"),
        with_unit(row.loss_percent, " %", 1),
        with_unit(row.cpu_percent, " %"),
        with_unit(row.soc_temp_c, " °C"),
        with_unit(row.wifi_rssi_dbm, " dBm"),
        printable(notes),
    )


def age(seconds: float) -> str:
    """`7 s`, `3 min`, `2 h`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.0f} h"


def with_unit(value: float | None, unit: str, digits: int = 0) -> str:
    """A number for reading."""
    return UNKNOWN if value is None else f"{value:.{digits}f}{unit}"
