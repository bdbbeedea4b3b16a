"""Power cuts that lose what was not synced: every state that may be left boots into a slot that works."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_node.durable import put
from edge_node.update import kept
from edge_node.update.bundle import version_key
from edge_node.update.faults import Faults
from edge_node.update.records import Pending
from edge_node.update.slots import MAX_EARLY_FAILURES, MAX_STARTS, Slots
from tests.support import update_lab
from tests.support.power_cut import Disk
from tests.support.update_lab import Machine, Publisher

UNDERSTANDS = {"1.0.0": ("1", "2"), "1.1.0": ("1", "2", "3")}
AGAIN = max(1, int(os.environ.get("EDGE_NODE_ROUNDS", "6")) // 6)
"""So many of the states are cut a second time, while they boot."""


@pytest.fixture(autouse=True)
def _in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of states are booted: the application is asked without starting it."""

    def understands(slot: Path, settings: Path) -> bool:
        version = str((Slots(slot.parent.parent, "").about(slot.name) or {})["version"])
        return settings.read_text() in UNDERSTANDS[version]

    def running(slots: Slots) -> dict[str, object] | None:
        about = slots.about(str(slots.current()))
        return None if about is None else {"node": {"version": about["version"]}, "call": {"state": "idle"}}

    monkeypatch.setattr(kept, "understands", understands)
    monkeypatch.setattr(update_lab, "running", running)


def _works(machine: Machine) -> None:
    current = machine.slots.current()
    assert current is not None and machine.slots.usable(current)
    assert machine.settings.read_text() in UNDERSTANDS[str((machine.slots.about(current) or {})["version"])]
    python = machine.slots.link / "venv/bin/python"
    assert python.exists()


def _boots(machine: Machine, floor: str, wrote: str) -> None:
    """Starts a few times, goes on with what was cut off; `wrote`: settings that must not be lost."""
    faults = Faults(machine.slots.root)
    for _ in range(2):
        machine.slots.guard(faults.early(machine.slots.current()))
        _works(machine)
    machine.updater.settle()
    assert machine.slots.pending() is None
    machine.slots.guard()
    _works(machine)
    assert version_key(machine.slots.floor()) >= version_key(floor)
    copies = [*machine.settings.parent.glob("edge-node.toml*"), *machine.slots.root.glob("slots/*/settings.toml")]
    there = {path.name: path.read_text() for path in copies}
    assert wrote in there.values(), f"{wrote} is lost, there is {there}"


def _cut_anywhere(machine: Machine, work: Callable[[Machine], object]) -> int:
    """Returns how many different states were booted."""
    folder = machine.settings.parent
    floor, wrote = machine.slots.floor(), machine.settings.read_text()
    disk = Disk(folder)
    with disk.recording():
        work(machine)
    states = list(disk.states.values())
    print(f"{len(states)} states")
    for state in states:
        disk.restore(state)
        _boots(Machine(folder), floor, wrote)
    for state in random.Random(7).sample(states, min(AGAIN, len(states))):
        disk.restore(state)
        second = Disk(folder)
        with second.recording():
            Machine(folder).slots.guard()
        for left in second.states.values():
            second.restore(left)
            _boots(Machine(folder), floor, wrote)
    return len(states)


def _starts_with(machine: Machine, settings: str) -> None:
    """1.1.0 writes such settings, durably, when it starts."""
    restart = machine.world.restart

    def start() -> None:
        restart()
        if machine.slots.current() == "b":
            put(machine.settings, settings.encode())

    machine.world.restart = start  # type: ignore[method-assign]


@pytest.fixture
def both(machine: Machine, publisher: Publisher) -> Machine:
    """1.1.0 runs in slot b, with settings that 1.0.0 in slot a refuses."""
    machine.updater.apply(publisher.bundle("1.1.0", floor="0.9.0"), publisher.keys)
    machine.settings.write_text("3")
    return machine


def test_an_update_that_is_kept(machine: Machine, publisher: Publisher) -> None:
    _starts_with(machine, "1")
    bundle = publisher.bundle("1.1.0", floor="0.9.0")
    seen = _cut_anywhere(machine, lambda one: one.updater.apply(bundle, publisher.keys))
    assert machine.slots.current() is not None and seen > 40


def _offline_in(machine: Machine, slot: str) -> None:
    """What runs in this slot does not get onto its channel."""
    restart = machine.world.restart

    def start() -> None:
        restart()
        machine.world.online = machine.slots.current() != slot

    machine.world.restart = start  # type: ignore[method-assign]


def test_an_update_that_is_taken_back(machine: Machine, publisher: Publisher) -> None:
    _starts_with(machine, "3")
    _offline_in(machine, "b")
    bundle = publisher.bundle("1.1.0")
    assert _cut_anywhere(machine, lambda one: one.updater.apply(bundle, publisher.keys)) > 40
    assert machine.said[-1].startswith("version 1.1.0 taken back")


def _on_trial(machine: Machine, starts: int) -> None:
    """The upgrade to 1.1.0, as if it had not been accepted yet."""
    for name in ("accepted", "history"):
        (machine.slots.root / "state" / name).unlink()
    (machine.slots.root / "state/accepted").write_text('{"slot": "a", "version": "1.0.0", "floor": "0"}')
    machine.slots._mark("b", proved=False)
    machine.slots.begin(Pending("x", "a", "b", "1.1.0", "0.9.0", True, starts=starts))
    put(machine.slots.path("a") / kept.COPY, b"1")
    assert machine.settings.read_text() == "3"


@pytest.mark.parametrize("starts", [0, MAX_STARTS])
def test_the_guard_during_a_trial(both: Machine, starts: int) -> None:
    _on_trial(both, starts)
    assert _cut_anywhere(both, lambda one: one.slots.guard()) >= (4 if starts == 0 else 15)


@pytest.mark.parametrize("good", [True, False], ids=["kept", "taken back"])
def test_settling_a_trial(both: Machine, good: bool) -> None:
    _on_trial(both, 1)
    both.world.online = good
    assert _cut_anywhere(both, lambda one: one.updater.settle()) >= 10


def test_an_update_that_a_call_held_up_for_too_long(both: Machine) -> None:
    _on_trial(both, 0)
    assert _cut_anywhere(both, lambda one: one.slots.withdraw()) >= 10


@pytest.mark.parametrize("good", [True, False], ids=["kept", "taken back"])
def test_a_rollback(both: Machine, good: bool) -> None:
    if not good:
        _offline_in(both, "a")
    assert _cut_anywhere(both, lambda one: one.updater.rollback()) >= 30


def test_a_slot_that_is_left(both: Machine) -> None:
    assert _cut_anywhere(both, lambda one: one.slots.guard(MAX_EARLY_FAILURES)) >= 15


def test_a_slot_that_is_damaged(both: Machine) -> None:
    (both.slots.path("b") / "venv/bin/edge-node").unlink()
    assert _cut_anywhere(both, lambda one: one.slots.guard()) >= 15


def test_a_lost_floor_that_is_written_anew(both: Machine) -> None:
    (both.slots.root / "state/accepted").write_bytes(b"")
    assert _cut_anywhere(both, lambda one: one.slots.guard()) >= 2


# The model itself


def _what_may_be_left(folder: Path, work: Callable[[], object]) -> set[tuple[str, bytes]]:
    """Names with their contents, over all states."""
    disk = Disk(folder)
    with disk.recording():
        work()
    return {(name, node[1]) for state in disk.states.values() for name, node in state.items() if node[0] == "file"}


def test_what_is_not_synced_may_be_lost(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    left = _what_may_be_left(tmp_path, lambda: (tmp_path / "file").write_bytes(b"content"))
    assert left == {("file", content) for content in (b"old", b"", b"con", b"\0" * 7, b"content")} - {("file", b"")}


def test_a_rename_before_its_content_may_leave_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def work() -> None:
        (tmp_path / "new").write_bytes(b"content")
        (tmp_path / "new").rename(tmp_path / "file")

    assert ("file", b"") in _what_may_be_left(tmp_path, work)


def test_durable_put_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    left = _what_may_be_left(tmp_path, lambda: put(tmp_path / "file", b"content"))
    assert {content for name, content in left if name == "file"} == {b"old", b"content"}


def test_the_checks_would_see_settings_that_are_copied_without_a_sync(
    both: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "put", lambda path, content, **_: path.write_bytes(content))
    with pytest.raises((AssertionError, UnicodeDecodeError)):
        _cut_anywhere(both, lambda one: one.updater.rollback())
