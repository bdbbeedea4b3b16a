"""Labels for whoever screws the devices to the wall."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Sequence
from pathlib import Path

from edge_node.errors import EdgeNodeError, UsageError
from edge_node.provision.disk import Disk
from edge_node.provision.folder import Manifest, read_manifest

COLUMNS = ("id", "name", "hostname", "hub", "generation", "qr")
FILES = ("labels.csv", "labels.html")
_PAGE = """<!doctype html>
<meta charset="utf-8">
<title>edge-node labels</title>
<style>
body { font: 10pt sans-serif; margin: 10mm; display: flex; flex-wrap: wrap; gap: 4mm }
figure { margin: 0; width: 60mm; height: 28mm; border: .2mm solid #999; border-radius: 1mm; padding: 2mm;
  display: flex; gap: 3mm; align-items: center; box-sizing: border-box; break-inside: avoid; overflow: hidden }
svg { width: 22mm; height: 22mm; flex: none }
b { display: block; font-size: 12pt }
</style>
"""


def qr_text(manifest: Manifest) -> str:
    """What the label's code says: who this is, nothing that opens anything."""
    return json.dumps({"edge-node": 1, "id": manifest.id, "hub": manifest.hub}, separators=(",", ":"))


def write_labels(out: Path, disk: Disk) -> list[Path]:
    """A table and a page to print for the folders below `out`, an SVG in each. Raises EdgeNodeError, UsageError."""
    folders = sorted(out.iterdir()) if out.is_dir() else []
    found = [(folder, it) for folder in folders if folder.is_dir() and (it := read_manifest(folder))]
    if not found:
        raise UsageError(f"{out} has no devices: make them with edge-node provision batch")
    pictures = [_svg(qr_text(manifest)) for _, manifest in found]
    manifests = [manifest for _, manifest in found]
    written = [*(folder / "label.svg" for folder, _ in found), *(out / name for name in FILES)]
    bodies = [*pictures, _table(manifests), _page(manifests, pictures)]
    try:
        for path, body in zip(written, bodies, strict=True):
            disk.put(path, body.encode())
    except OSError as err:
        raise EdgeNodeError(f"{out} cannot be written ({err.strerror}): make room") from err
    return written[len(pictures) :]


def _svg(text: str) -> str:
    try:
        import segno
    except ImportError:
        raise UsageError("labels need segno: install edge-node[provision]") from None
    found: str = segno.make(text, error="m", micro=False).svg_inline(border=2, omitsize=True)
    return found + "\n"


def _table(manifests: Sequence[Manifest]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for it in manifests:
        writer.writerow([_cell(text) for text in (it.id, it.name, it.hostname, it.hub)] + [it.generation, qr_text(it)])
    return text.getvalue()


def _cell(text: str) -> str:
    """A spreadsheet must not take a name for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text[:1] in "=+-@" else text


def _page(manifests: Sequence[Manifest], pictures: Sequence[str]) -> str:
    figures = [
        f"<figure>{picture.strip()}<div><b>{html.escape(it.name)}</b>{html.escape(it.id)}<br>"
        f"{html.escape(it.hostname)}.local<br><small>{html.escape(it.hub)}</small></div></figure>\n"
        for it, picture in zip(manifests, pictures, strict=True)
    ]
    return _PAGE + "".join(figures)
