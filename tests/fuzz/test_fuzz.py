"""A short run of the fuzzer, and hypothesis looking for small examples of the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import main
from tests.fuzz.frames import _FIELDS, Frames
from tests.fuzz.run import Failed, fuzz
from tests.fuzz.session_target import SessionTarget
from tests.fuzz.targets import CodecTarget, HubTarget, Target, read_contents, read_description

ROOT = Path(__file__).parents[2]
FRAMES = 20_000
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=20)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
NAMES = sorted({name for names in _FIELDS.values() for name in names} | {"type", "requestId"})
BODIES = st.dictionaries(st.sampled_from(NAMES), VALUES) | st.fixed_dictionaries(
    {"type": st.sampled_from(sorted(_FIELDS)), "channel": st.text(), "from": st.text(), "to": st.text(), "data": VALUES}
)
TEXTS = BODIES.map(json.dumps) | st.text(st.characters(codec=None)) | VALUES.map(json.dumps)
"""Characters of every kind, lone surrogates included."""


def targets() -> list[Target]:
    frames = Frames(0)
    return [CodecTarget(frames), HubTarget(frames), SessionTarget(frames)]


def test_a_short_run_finds_nothing() -> None:
    """In a process of its own: other tests' threads would be counted as growth."""
    command = [sys.executable, "-m", "tests.fuzz", "--frames", str(FRAMES), "--seed", "20261121"]
    child = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert child.returncode == 0, child.stdout + child.stderr
    assert f"{FRAMES:,} frames" in child.stdout and "no exception" in child.stdout
    for seen in ("decode_client Publish", "decode_server PresenceFrame", "hub leaving", "session replays"):
        assert f"  {seen}: " in child.stdout, f"the generator never got as far as {seen}"


@settings(max_examples=150, deadline=None)
@given(st.lists(TEXTS, max_size=8))
def test_any_texts_leave_every_target_sound(texts: list[str]) -> None:
    for target in targets():
        for text in texts:
            target.feed(text)
        target.rest()


@settings(max_examples=100, deadline=None)
@given(VALUES, VALUES)
def test_any_contents_are_read(data: Any, metadata: Any) -> None:
    read_contents(data, metadata)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=30) | st.sampled_from(Frames(0).sdp().split("\n"))))
def test_any_description_is_read(lines: list[str]) -> None:
    read_description("\n".join(lines))


def test_the_same_seed_gives_the_same_frames() -> None:
    first, second, other = Frames(1), Frames(1), Frames(2)
    texts = [first.text() for _ in range(100)]
    assert texts == [second.text() for _ in range(100)] != [other.text() for _ in range(100)]


def test_what_breaks_is_told_with_the_frame_and_the_seed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(self: HubTarget, text: str) -> None:
        raise LookupError("boom")

    monkeypatch.setattr(HubTarget, "feed", explode)
    with pytest.raises(Failed, match=r"HubTarget: LookupError\('boom'\) at frame 0 of seed 5"):
        fuzz(10, seed=5)
    assert main(["--frames", "10", "--seed", "5"]) == 1
    assert "seed 5" in capsys.readouterr().err


def test_a_leak_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[str] = []
    feed = CodecTarget.feed

    def leak(self: CodecTarget, text: str) -> None:
        kept.append(text + "!")
        feed(self, text)

    monkeypatch.setattr(CodecTarget, "feed", leak)
    with pytest.raises(Failed, match="memory grew"):
        fuzz(10_000, seed=1)


def test_the_command_tells_what_it_saw(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--frames", "2000", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("seed 3\n") and "2,000 frames" in out and "no exception" in out
