"""`python -m tests.encode_plan.table`: writes hardware/ENCODE_PLAN.md, what every board does with every source."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_node.encode_plan.governor import SHARES
from edge_node.encode_plan.limits import BoardLimits, board_limits
from edge_node.encode_plan.plan import Plan, Refusal, Situation, Source, Wish, may_transcode, plan

ROOT = Path(__file__).resolve().parents[2]
TARGET = ROOT / "hardware" / "ENCODE_PLAN.md"
BOARDS = ("pi-zero-2-w", "pi-3", "pi-4", "pi-5", "generic")
SIZES = ((640, 480, 30, 1000), (1280, 720, 30, 2000), (1920, 1080, 30, 4000))
VIEWERS = (1, 4, 8)
SOURCES = {
    Source.CAMERA: "camera module",
    Source.RAW: "USB camera, file, test",
    Source.CODED: "RTSP H.264",
    Source.FOREIGN: "RTSP to be decoded",
}
HEAD = """# What every board does with every source

Written by `python -m tests.encode_plan.table`; `tests/encode_plan/test_table.py` fails when it is out of date. Nothing
here was run on a board: limits come from the profiles in `boards/`, each with its source, and a board that encodes in
software measures its own speed at the first start and plans with that instead.

Encoders: `v4l2m2m` is the board's own through picamera2, `h264_v4l2m2m` the same through FFmpeg, `libx264` software
with its preset, `passthrough` none. *VP8* is what viewers without H.264 get beside it.
"""


def profile(board: str) -> dict[str, Any]:
    """The board's profile."""
    return tomllib.loads((ROOT / "hardware" / "boards" / f"{board}.toml").read_text())


def markdown() -> str:
    """The whole document."""
    lines = [HEAD]
    for board in BOARDS:
        found = profile(board)
        lines += [f"## {found['board']['name']}", "", *_table(board_limits(found)), ""]
        lines += ["Where its limits come from:", "", *_sources(found), ""]
    lines += ["## Under heat, a weak supply, late pictures", "", *_pressure()]
    return "\n".join(lines) + "\n"


def _table(limits: BoardLimits) -> Iterator[str]:
    yield "| source | asked for | viewers | picture | kbit/s | encoder | level | camera buffers | limited by | VP8 |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for source, words in SOURCES.items():
        for width, height, fps, kbps in SIZES:
            wish = Wish(width, height, fps, kbps, source)
            for viewers in VIEWERS:
                chosen = plan(limits, wish, Situation(viewers=viewers))
                asked = f"{words} | {width}x{height} {fps}/s {kbps}"
                yield f"| {asked} | {viewers} | {_cells(limits, wish, chosen, source)} |"


def _cells(limits: BoardLimits, wish: Wish, chosen: Plan | Refusal, source: Source) -> str:
    if isinstance(chosen, Refusal):
        return f"refused: {chosen.reason} | | | | | | "
    vp8 = may_transcode(limits, wish, chosen)
    beside = "refused" if isinstance(vp8, Refusal) else f"{vp8.width_px}x{vp8.height_px} {vp8.fps}/s"
    encoder = f"{chosen.encoder} {chosen.preset}" if chosen.encoder == "libx264" else chosen.encoder
    buffers = chosen.buffers if source is Source.CAMERA else ""
    picture = f"{chosen.width_px}x{chosen.height_px} {chosen.fps}/s"
    kbps = f"{chosen.max_kbps}"
    return " | ".join((picture, kbps, encoder, chosen.level, str(buffers), chosen.limited_by or "", beside))


def _sources(found: dict[str, Any]) -> Iterator[str]:
    tables = {"camera": found.get("camera"), "heat": found.get("heat"), "sending": found.get("sending")}
    tables |= {f"encoder.{kind}": found["encoder"].get(kind) for kind in ("hardware", "software")}
    for name, table in tables.items():
        for key, source in (table or {}).get("source", {}).items():
            yield f"- `{name}.{key} = {(table or {})[key]}`: {source}"


def _pressure() -> Iterator[str]:
    yield "The governor leaves these shares of the work, one step down every 10 s, one up after 60 s without a cause:"
    yield ""
    yield "| board and source, asked for 1280x720 30/s | " + " | ".join(f"{share:.0%}" for share in SHARES) + " |"
    yield "|---|" + "---|" * len(SHARES)
    for board, source in (("pi-4", Source.CAMERA), ("pi-4", Source.RAW), ("pi-5", Source.CAMERA)):
        cells = []
        for share in SHARES:
            chosen = plan(board_limits(profile(board)), Wish(1280, 720, 30, 2000, source), Situation(share=share))
            assert isinstance(chosen, Plan)
            cells.append(f"{chosen.width_px}x{chosen.height_px} {chosen.fps}/s")
        yield f"| {board}, {SOURCES[source]} | " + " | ".join(cells) + " |"


if __name__ == "__main__":
    TARGET.write_text(markdown())
    sys.exit(0)
