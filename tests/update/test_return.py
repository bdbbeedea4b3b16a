"""Every way back to a version that works: its settings, a slot that fails later, what was safe."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_node.errors import EdgeNodeError
from edge_node.update.__main__ import main
from edge_node.update.bundle import BundleRefused
from edge_node.update.faults import EARLY_S, End, Faults
from edge_node.update.kept import MAX_ASIDE
from edge_node.update.records import Pending, read_accepted, read_history, read_left, read_pending
from edge_node.update.show import dump, text
from edge_node.update.slots import MAX_EARLY_FAILURES, MAX_STARTS
from tests.support.update_lab import Machine, Publisher

CRASH = End("signal", "killed", "SEGV")


def _aside(machine: Machine, number: int = 1) -> Path:
    return machine.settings.with_name("edge-node.toml.set-aside" + f"-{number}" * (number > 1))


def _migrates_and(machine: Machine, then: Callable[[], object]) -> None:
    """The next version writes settings that 1.0.0 refuses as soon as it starts."""
    restart = machine.world.restart

    def start() -> None:
        restart()
        if machine.slots.current() == "b":
            machine.settings.write_text("3")
            then()

    machine.world.restart = start  # type: ignore[method-assign]


# Settings


def test_the_guard_gives_the_old_version_its_settings_back(machine: Machine, publisher: Publisher) -> None:
    _migrates_and(machine, lambda: [machine.slots.guard() for _ in range(MAX_STARTS)])
    bundle = publisher.bundle("1.1.0", understands=("1", "2", "3"))
    assert not machine.updater.apply(bundle, publisher.keys)
    assert machine.version == "1.0.0" and machine.settings.read_text() == "1"
    assert _aside(machine).read_text() == "3"


def test_so_does_a_trial_that_goes_on_after_a_power_cut(machine: Machine, publisher: Publisher) -> None:
    class PowerCutError(Exception):
        pass

    def cut() -> None:
        raise PowerCutError

    _migrates_and(machine, cut)
    with pytest.raises(PowerCutError):
        machine.updater.apply(publisher.bundle("1.1.0", status="sys.exit(1)"), publisher.keys)
    again = Machine(machine.settings.parent)
    again.slots.guard()
    assert again.updater.settle() is False
    assert again.version == "1.0.0" and again.settings.read_text() == "1" and _aside(again).read_text() == "3"
    assert any("set-aside" in line for line in again.said)


def test_what_the_old_version_understands_stays_whoever_wrote_it(machine: Machine, publisher: Publisher) -> None:
    def restart() -> None:
        machine.settings.write_text("2")

    machine.world.restart = restart  # type: ignore[method-assign]
    machine.updater.apply(publisher.bundle("1.1.0", status="sys.exit(1)"), publisher.keys)
    assert machine.version == "1.0.0" and machine.settings.read_text() == "2" and not _aside(machine).exists()


def test_a_rollback_that_fails_leaves_the_settings_as_they_were(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0", understands=("1", "2", "3")), publisher.keys)
    machine.settings.write_text("3")
    machine.settings.chmod(0o640)
    (machine.slots.path("a") / "venv/bin/edge-node").write_text("#!/bin/false\n")
    assert not machine.updater.rollback()
    assert machine.version == "1.1.0" and machine.settings.read_text() == "3"
    assert _aside(machine, 2).read_text() == "1" and machine.settings.stat().st_mode & 0o777 == 0o640


def test_an_interrupted_rollback_leaves_the_settings_as_they_were(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0", understands=("1", "2", "3")), publisher.keys)
    machine.settings.write_text("3")
    machine.slots.begin(Pending("cut", "b", "a", "1.0.0", "0", True))
    assert machine.settings.read_text() == "1"
    machine.slots.link.unlink()
    machine.slots.link.symlink_to("slots/b")  # the settings were written, the link was not yet switched
    assert str(machine.slots.guard()).startswith("the update to 1.0.0 had been interrupted; the settings are")
    assert machine.settings.read_text() == "3"


def test_nothing_that_was_set_aside_is_lost(machine: Machine, publisher: Publisher) -> None:
    places = [_aside(machine, number) for number in range(1, MAX_ASIDE + 1)]
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    for number in range(MAX_ASIDE + 2):
        machine.settings.write_text(f"future {min(number, MAX_ASIDE)}")
        machine.slots.settings.give_back(machine.slots.path("a"))
    assert [path.read_text() for path in places[:-1]] == [f"future {n}" for n in range(MAX_ASIDE - 1)]
    assert places[-1].read_text() == f"future {MAX_ASIDE}"


def test_without_settings_there_is_nothing_to_give_back(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    machine.settings.unlink()
    assert machine.updater.rollback() and not machine.settings.exists()


# A slot that fails after it was accepted


@pytest.fixture
def both(machine: Machine, publisher: Publisher) -> Machine:
    """1.1.0 runs and has proved itself, as 1.0.0 had."""
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    return machine


class Board:
    """Runs of the unit: the guard's command, then an end after so many seconds."""

    def __init__(self, machine: Machine) -> None:
        self.uptime = 100.0
        self.slots = machine.slots
        root = machine.slots.root
        self.faults = Faults(root, run=lambda _: "", uptime_s=lambda: self.uptime, leds=root)

    def lives(self, seconds: float, end: End = CRASH) -> str | None:
        """Returns which slot ran."""
        self.slots.guard(self.faults.early(self.slots.current()))
        current = self.slots.current()
        self.faults.started(str(current))
        self.uptime += seconds
        self.faults.ended(end)
        return current


GONE = ("bin/edge-node", "bin/python", "lib/python{}/site-packages/edge_node/__main__.py")


@pytest.mark.parametrize("name", GONE)
def test_a_slot_without_what_the_unit_starts_is_left(both: Machine, name: str) -> None:
    (both.slots.path("b") / "venv" / name.format(both.slots.python)).unlink()
    assert both.slots.guard() == "slot b cannot run, so slot a does" and both.version == "1.0.0"
    assert both.slots.history()[-1]["outcome"] == "left" and both.slots.guard() is None
    shown = text(both.slots)
    assert "slot b: 1.1.0, cannot run" in shown and "slot b was left: its slot cannot run, so 1.0.0 does" in shown


def test_a_slot_of_empty_files_is_left(both: Machine) -> None:
    (both.slots.path("b") / "venv/bin/edge-node").write_bytes(b"")
    both.slots.guard()
    assert both.slots.current() == "a"


def test_the_other_slot_gets_the_settings_that_it_understands(both: Machine) -> None:
    both.settings.write_text("3")
    (both.slots.path("b") / "venv/bin/edge-node").unlink()
    assert "the settings are those from before" in str(both.slots.guard())
    assert both.settings.read_text() == "1" and _aside(both).read_text() == "3"


def test_one_that_keeps_failing_right_after_its_start_is_left_once(both: Machine) -> None:
    board = Board(both)
    assert [board.lives(3.0) for _ in range(MAX_EARLY_FAILURES)] == ["b"] * MAX_EARLY_FAILURES
    assert board.lives(EARLY_S * 10) == "a" and both.version == "1.0.0"
    left = both.slots.left()
    assert str(left) == "1.1.0 left: it failed 3 times in a row right after its start, so 1.0.0 runs"
    assert both.slots.history()[-1]["version"] == "1.1.0" and dump(both.slots)["left"]["slot"] == "b"
    assert [board.lives(EARLY_S) for _ in range(5)] == ["a"] * 5, "it lives long enough"


def test_when_both_fail_the_newer_one_stays(both: Machine) -> None:
    board = Board(both)
    rows = [board.lives(3.0) for _ in range(5 * MAX_EARLY_FAILURES)]
    assert rows == ["b"] * 3 + ["a"] * 3 + ["b"] * 9
    assert str(both.slots.left()).endswith("right after its start, as 1.1.0 did, which runs again")


def test_runs_in_order_and_wrong_settings_are_no_reason_to_leave(both: Machine) -> None:
    board = Board(both)
    for end in (End("success", "exited", "0"), End("exit-code", "exited", "78")):
        assert [board.lives(3.0, one) for one in (CRASH, CRASH, end, CRASH, CRASH, end)] == ["b"] * 6
    assert board.lives(3.0) == "b"


def test_one_that_never_proved_itself_is_no_way_out(both: Machine, publisher: Publisher) -> None:
    assert not both.updater.apply(publisher.bundle("1.2.0", status="sys.exit(1)"), publisher.keys)
    board = Board(both)
    assert {board.lives(3.0) for _ in range(8)} == {"b"}


def test_one_below_the_floor_is_no_way_out(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0", floor="1.1.0"), publisher.keys)
    board = Board(machine)
    assert {board.lives(3.0) for _ in range(8)} == {"b"}


def test_an_update_ends_what_was_remembered(both: Machine, publisher: Publisher) -> None:
    board = Board(both)
    for _ in range(MAX_EARLY_FAILURES + 1):
        board.lives(3.0)
    assert both.slots.current() == "a"
    assert both.updater.apply(publisher.bundle("1.1.0"), publisher.keys), "the same version, built anew"
    assert both.slots.left() is None and both.world.now() > 0 and both.version == "1.1.0"


def test_a_switch_that_was_cut_off_goes_on(both: Machine) -> None:
    both.slots.guard(MAX_EARLY_FAILURES)
    both.slots.link.unlink()
    both.slots.link.symlink_to("slots/b")
    both.slots.guard(MAX_EARLY_FAILURES)
    assert both.slots.current() == "a" and len(both.slots.history()) == 2


def test_a_new_slot_that_breaks_during_its_trial_is_taken_back(both: Machine) -> None:
    both.slots.begin(Pending("x", "b", "a", "1.0.0", "0", True))
    (both.slots.path("a") / "venv/bin/edge-node").unlink()
    assert both.slots.guard() == "the update to 1.0.0 was taken back: it cannot run"


# The floor


def test_the_floor_outlives_its_file(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0", floor="1.1.0"), publisher.keys)
    (machine.slots.root / "state/accepted").write_bytes(b"\0" * 80)
    with pytest.raises(EdgeNodeError, match="still safe"):
        machine.updater.rollback()
    with pytest.raises(BundleRefused, match="still safe"):
        machine.updater.apply(publisher.bundle("1.0.5"), publisher.keys, downgrade=True)
    said = "state/accepted was damaged or lost: the slots say version 1.1.0, none below 1.1.0"
    assert machine.slots.guard() == said and machine.slots.guard() is None
    assert machine.slots.accepted() == {"slot": "b", "version": "1.1.0", "floor": "1.1.0"}


def test_a_version_that_was_taken_back_raises_no_floor(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0", floor="1.1.0", status="sys.exit(1)"), publisher.keys)
    (machine.slots.root / "state/accepted").unlink()
    assert machine.slots.floor() == "0" and machine.slots.guard() is not None
    assert machine.updater.apply(publisher.bundle("1.0.5"), publisher.keys)


# What is on the disk may be anything

NONSENSE: tuple[dict[str, object], ...] = (
    {}, {"updates": 1}, {"updates": [1, {}]}, {"slot": 1}, {"slot": "a", "version": 1, "floor": "0"},
    {"slot": "a", "version": "1.0", "floor": "none"},
    {"id": "x", "old": "../..", "new": "b", "version": "1.1.0", "floor": "0", "was_online": True},
    {"id": "x", "old": "a", "new": "b", "version": "1.1.0", "floor": "0", "was_online": True, "starts": "many"},
)  # fmt: skip


@pytest.mark.parametrize("value", NONSENSE, ids=str)
def test_nonsense_is_nothing(machine: Machine, value: dict[str, object]) -> None:
    assert read_pending(value) is None and read_left(value) is None
    assert read_accepted(value) == {} and read_history(value) == []
    for name in ("pending", "left", "accepted", "history", "faults"):
        (machine.slots.root / "state" / name).write_text(json.dumps(value))
    machine.slots.guard(9)
    assert machine.version == "1.0.0"
    shutil.copy(machine.slots.root / "state/pending", machine.slots.path("a") / "slot.json")
    with pytest.raises(EdgeNodeError, match="no slot"):
        machine.slots.guard()


def test_words_of_a_later_version_are_passed_over(machine: Machine) -> None:
    pending = Pending("x", "a", "b", "1.1.0", "0", True, ["camera"])
    assert read_pending({**json.loads(json.dumps(pending.to_json())), "later": 1}) == pending


def test_a_disk_that_takes_nothing_keeps_no_slot_from_starting(
    both: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    words = ["--root", str(both.slots.root), "--settings", str(both.settings), "guard"]
    assert main(words) == 0 and "slot b starts as it is" in capsys.readouterr().err
    (both.slots.path("b") / "venv/bin/edge-node").unlink()
    assert main(words) == 1 and "No space" in capsys.readouterr().err
    with pytest.raises(EdgeNodeError, match="the old version goes on"):
        both.updater.rollback()
