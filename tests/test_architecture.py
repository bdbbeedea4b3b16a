"""The law of the house: who may import whom, and what a room may not do."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "edge_node"

RANKS: dict[str, int] = {
    "errors": 0, "version": 0, "durable": 0, "bucket": 0,
    "protocol": 1, "call": 1, "dsp": 1, "encode_plan": 1, "telemetry": 1, "rtp": 1,
    "ports": 2, "settings": 2, "aio": 2,
    "realtime": 3, "media": 3, "devices": 3, "hub": 3, "host": 3,
    "agent": 4,
    "node": 5, "update": 5,
    "simulator": 6, "provision": 6, "cli": 6,
}  # fmt: skip
PURE = [room for room, rank in RANKS.items() if rank == 1]
# What a pure room may import from outside: values and arithmetic, nothing that waits, reads a clock or draws lots.
PURE_STDLIB = {
    "__future__", "abc", "base64", "bisect", "collections", "dataclasses", "datetime", "enum", "fnmatch", "functools",
    "heapq", "ipaddress", "itertools", "json", "math", "operator", "re", "string", "struct", "types", "typing", "uuid",
}  # fmt: skip
CLI_MAY = {"simulator", "provision", "update"}
TOP_LEVEL = {"edge_node", "hardware", "systemd", "provisioning", "tests"}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    part = path.relative_to(PACKAGE).parts[0]
    return part.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports name their room in full"
            if node.module == "edge_node":
                yield from ((node.lineno, f"edge_node.{alias.name}") for alias in node.names)
            elif node.module:
                yield node.lineno, node.module


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_lower_ranks(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in RANKS, f"{room} has no rank: give it one in tests/test_architecture.py, or move the module"
    for line, name in imports(path):
        parts = name.split(".")
        if parts[0] != "edge_node" or len(parts) < 2 or parts[1] == room:
            continue
        other = parts[1]
        if room == "cli" and other in CLI_MAY:
            continue
        assert RANKS[other] < RANKS[room], f"{path}:{line}: {room} may not import {other}"


@pytest.mark.parametrize("room", PURE)
def test_pure_rooms_touch_nothing(room: str) -> None:
    for path in sorted((PACKAGE / room).rglob("*.py")):
        for line, name in imports(path):
            top = name.split(".")[0]
            allowed = top in PURE_STDLIB or top == "edge_node" or (room == "dsp" and top == "numpy")
            allowed = allowed or name == "urllib.parse"  # text in, text out, unlike its sisters
            assert allowed, f"{path}:{line}: a pure room may not import {name}"
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(node, ast.AsyncFunctionDef | ast.Await), (
                f"{path}:{node.lineno}: a pure room never waits"
            )
            if isinstance(node, ast.Attribute) and node.attr == "uuid4":
                raise AssertionError(f"{path}:{node.lineno}: a pure room draws no lots")


def test_only_the_adapters_touch_aiortc_privates() -> None:
    marks = ("_RTCRtpSender__", "_RTCRtpReceiver__", "_send_keyframe", "_nominated", "_tx_srtp", "_RTCPeerConnection__")
    for path in modules():
        if not path.match("realtime/aiortc_*.py") and path.name != "aioice_adapter.py":
            text = path.read_text()
            assert not [m for m in marks if m in text], f"{path} touches aiortc privates: that is the adapters' duty"


def type_checking_lines(path: Path) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def test_only_build_picks_concrete_edges() -> None:
    edges = {room for room, rank in RANKS.items() if rank == 3}
    values = {"edge_node.realtime.events", "edge_node.devices.patterns"}  # values, no device and no connection
    for path in sorted((PACKAGE / "node").rglob("*.py")):
        if path.name in ("build.py", "machinery.py"):
            continue
        annotations = type_checking_lines(path)
        for line, name in imports(path):
            parts = name.split(".")
            is_edge = parts[0] == "edge_node" and len(parts) > 1 and parts[1] in edges
            if is_edge and line not in annotations and not any(name.startswith(value) for value in values):
                raise AssertionError(
                    f"{path}:{line}: only node/build.py or machinery.py picks concrete edges, not {name}"
                )


def test_top_level_is_fixed() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\n")
    folders = {name.split("/")[0] for name in tracked if "/" in name and not name.startswith(".")}
    assert folders <= TOP_LEVEL, f"new top-level folders: {folders - TOP_LEVEL}"
    for folder in ("hardware", "systemd"):
        assert not list((ROOT / folder).rglob("*.py")), f"{folder}/ holds no Python"


@pytest.mark.parametrize("package", ["edge_node", "edge_node.agent"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    code = (
        f"import sys, {package}; "
        "heavy = {'av', 'aiortc', 'numpy', 'sounddevice', 'gpiozero', 'pydantic', 'websockets'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
