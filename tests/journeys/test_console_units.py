"""The console's pure modules, tested by node's own test runner."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_node.hub.pages import FOLDER
from tests.support.browser import node_js

UNITS = Path(__file__).parent / "console_units"
MAX_BYTES = 100 * 1024
FILES = sorted(path for path in FOLDER.iterdir() if path.is_file())
MODULES = [path for path in FILES if path.suffix == ".js"]


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*.test.js")), ids=lambda path: path.name)
def test_unit(unit: Path, tmp_path: Path) -> None:
    node = node_js()
    for source in (*MODULES, unit):
        shutil.copy(source, tmp_path)
    (tmp_path / "package.json").write_text(json.dumps({"type": "module"}))
    done = subprocess.run([node, "--test", str(tmp_path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "# pass 0" not in done.stdout


def test_all_of_it_stays_small() -> None:
    assert sum(path.stat().st_size for path in FILES) <= MAX_BYTES
    for module in MODULES:
        assert len(module.read_text().splitlines()) <= 400, f"{module.name}: split it"


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = (FOLDER / "index.html").read_text()
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", page)
    for path in FILES:
        text = path.read_text().replace("http://www.w3.org/", "").replace("http://127.0.0.1", "")
        assert not re.search(r"https?://|url\(|@import", text), f"{path.name} asks for something from elsewhere"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_words_of_others_never_become_markup(path: Path) -> None:
    banned = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|DOMParser"
    assert not re.search(banned, path.read_text())


def test_every_import_and_reference_exists() -> None:
    for module in MODULES:
        for name in re.findall(r'from "\./([^"]+)"', module.read_text()):
            assert (FOLDER / name).is_file(), f"{module.name} imports {name}"
    page = (FOLDER / "index.html").read_text()
    for name in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert (FOLDER / name).is_file(), f"index.html names {name}"
    known = set(re.findall(r'id="([^"]+)"', page))
    for module in MODULES:
        wanted = set(re.findall(r'\$\("([^"]+)"\)', module.read_text()))
        assert wanted <= known, f"{module.name} looks for {wanted - known}"


def test_tokens_live_in_memory_only() -> None:
    kept = [line for path in MODULES for line in path.read_text().splitlines() if "Storage.setItem" in line]
    assert kept, "the access code and the name are kept"
    assert all("(CODE," in line or "(NAME," in line for line in kept)
    assert not any(re.search(r"localStorage\.setItem\(CODE", line) for line in kept), "the code ends with its tab"
