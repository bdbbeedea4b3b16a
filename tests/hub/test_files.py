"""What the hub makes of files of its own that are not as it left them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_node.errors import SettingsError
from edge_node.hub.files import read_model
from edge_node.settings.section import Section


class Kept(Section):
    name: str = "nobody"


def read(path: Path) -> Kept:
    return read_model(path, Kept, 32, "begin anew")


def test_a_file_or_none(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    assert read(path) == Kept()
    path.write_text('{"name": "anna"}')
    assert read(path).name == "anna"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("nope", "is no JSON: restore it, or remove it and begin anew"),
        (" " * 40, "is too large: restore it, or remove it and begin anew"),
        ('{"nam": "anna"}', r'nam is no setting \(did you mean "name"\?\) \[.*kept.json\]'),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "kept.json"
    path.write_text(content)
    with pytest.raises(SettingsError, match=reason):
        read(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(SettingsError, match="cannot be read"):
        read(path)
