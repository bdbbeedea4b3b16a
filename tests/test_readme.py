"""What README.md promises: its settings pass, what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edge_node.cli.main import main
from edge_node.cli.parser import build_parser

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "README.md").read_text()
PAGES = ("README.md", "hardware/DOOR_STATION.md", "provisioning/image/README.md")


def test_the_settings_example_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = re.search(r"```toml\n(\[node\].*?)```", TEXT, flags=re.DOTALL)
    assert found is not None
    file = tmp_path / "edge-node.toml"
    # A real key has other characters than an example's.
    file.write_text(found[1].replace("pk_live_…", "pk_live_canary0123456789"))
    assert main(["config", "check", str(file)]) == 0, capsys.readouterr().err


def test_the_indoor_station_of_the_parts_list_is_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", (ROOT / "hardware/PARTS.md").read_text(), flags=re.DOTALL)
    file = tmp_path / "edge-node.toml"
    file.write_text(f'{example}\n[channel]\nname = "home/front-door"\nenrolled = true\n')
    assert main(["config", "check", str(file)]) == 0, capsys.readouterr().err


def test_every_test_and_program_it_names_is_there() -> None:
    named = re.findall(r"\b((?:tests|provisioning|hardware|systemd|edge_node)/[\w./-]+\w)", TEXT)
    assert len(named) > 60
    missing = sorted({name for name in named if not (ROOT / name).exists()})
    assert not missing


def test_every_link_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")
        for line in TEXT.splitlines()
        if line.startswith("#")
    }
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXT):
        assert target[1:] in headings if target.startswith("#") else (ROOT / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_every_command_it_names_exists(page: str) -> None:
    parser = build_parser()
    commands = next(action.choices for action in parser._actions if action.dest == "command")
    assert commands is not None
    for words in re.findall(r"`(?:sudo )?edge-node ([a-z-]+)", (ROOT / page).read_text()):
        assert words in commands, words


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_its_boxes_is_taken(page: str) -> None:
    """With its words and options: what stands in brackets is left out, of alternatives the first is tried."""
    found = 0
    for box in (ROOT / page).read_text().split("```")[1::2]:
        for line in re.findall(r"^(?:sudo )?(?:\.venv/bin/)?edge-node (.+)$", box, flags=re.MULTILINE):
            words = re.sub(r"\[.*?\]", "", re.split(r" [#>|&]", line)[0]).split()
            build_parser().parse_args(words)
            found += 1
    assert found > 2
