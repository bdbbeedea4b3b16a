"""Labels that a phone can read."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from edge_node.cli.main import main
from edge_node.errors import EdgeNodeError, UsageError
from edge_node.provision.disk import Disk
from edge_node.provision.folder import read_manifest, write_folder
from edge_node.provision.labels import qr_text, write_labels
from tests.provision.cards import CODE, card, values


def test_a_page_a_table_a_picture_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = values()
    given["settings"]["node"]["name"] = "=<b>Gate</b>"
    write_folder(card(settings=given["settings"]), tmp_path / "gate-1", Disk())
    assert main(["provision", "labels", str(tmp_path)]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / "labels.csv"), str(tmp_path / "labels.html")]
    row = next(csv.DictReader((tmp_path / "labels.csv").read_text().splitlines()))
    assert row["name"].startswith("'="), "no formula for a spreadsheet"
    assert json.loads(row["qr"]) == {"edge-node": 1, "id": "gate-1", "hub": "wss://hub.example:9292"}
    page = (tmp_path / "labels.html").read_text()
    assert "<b>=&lt;b&gt;Gate" in page and "<svg" in page and CODE not in page
    assert (tmp_path / "gate-1/label.svg").read_text().startswith("<svg")
    manifest = read_manifest(tmp_path / "gate-1")
    assert manifest is not None and qr_text(manifest) == row["qr"]


class LockedDisk(Disk):
    def put(self, path: Path, content: bytes, mode: int | None = 0o600, owner: tuple[int, int] | None = None) -> None:
        raise OSError(30, "Read-only file system")


def test_nothing_to_label_and_nowhere_to_write(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(UsageError, match="no devices"):
            write_labels(place, Disk())
    write_folder(card(), tmp_path / "gate-1", Disk())
    with pytest.raises(EdgeNodeError, match="Read-only"):
        write_labels(tmp_path, LockedDisk())
