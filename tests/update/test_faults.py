"""A node that keeps failing: counted, written down, shown, and in the end the machine is restarted."""

from __future__ import annotations

import re
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_node.update import __main__ as command
from edge_node.update.faults import (
    BLINK_MS,
    COMMAND_DEADLINE_S,
    MAX_POST_MORTEMS,
    QUICK_MS,
    REBOOT_AFTER_S,
    REBOOT_FAILURES,
    SAFE_MODE_FAILURES,
    STEADY_S,
    End,
    Faults,
    run,
    uptime_s,
)
from edge_node.update.slots import Slots, this_python

CRASH = End("signal", "killed", "KILL")
HUNG = End("watchdog", "dumped", "ABRT")
STOPPED = End("success", "exited", "0")
WRONG = End("exit-code", "exited", "78")
REBOOT = ["systemctl", "--no-block", "reboot"]


class Board:
    def __init__(self, folder: Path) -> None:
        self.uptime = 100.0
        self.ran: list[Sequence[str]] = []
        self.state = folder / "root/state"
        self.leds = folder / "leds"
        self.faults = Faults(folder / "root", run=self._run, uptime_s=lambda: self.uptime, leds=self.leds)

    def _run(self, words: Sequence[str]) -> str:
        self.ran.append(words)
        return "a line of the journal\n" if "-u" in words else ""

    def lives(self, seconds: float, end: End) -> str | None:
        self.faults.started("a")
        self.uptime += seconds
        return self.faults.ended(end)

    @property
    def post_mortems(self) -> list[Path]:
        return sorted((self.state / "post-mortem").glob("*"))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_failures_in_a_row_are_counted_until_one_run_is_steady(board: Board) -> None:
    assert board.faults.failures == 0
    for number in range(1, SAFE_MODE_FAILURES):
        said = board.lives(3.0, CRASH)
        assert said is not None and said.startswith(f"failure {number} in a row: signal (killed KILL); ")
        assert "without media" not in said and board.faults.failures == number
    assert "without media" in str(board.lives(3.0, HUNG))
    board.lives(STEADY_S, CRASH)
    assert board.faults.failures == 1


def test_an_orderly_end_and_wrong_settings_end_the_row(board: Board) -> None:
    for end in (STOPPED, WRONG):
        board.lives(3.0, CRASH)
        assert board.lives(3.0, end) is None and board.faults.failures == 0
    assert len(board.post_mortems) == 2


def test_a_start_without_a_slot_is_no_failure(board: Board) -> None:
    board.lives(3.0, CRASH)
    for _ in range(REBOOT_FAILURES):  # the guard found nothing to run
        assert board.faults.ended(End("exit-code", "exited", "1")) is None
    assert board.faults.failures == 1


def test_the_machine_is_restarted_at_most_once_an_hour(board: Board) -> None:
    for _ in range(REBOOT_FAILURES + 3):
        assert "machine is restarted" not in str(board.lives(3.0, CRASH))
    assert REBOOT not in board.ran, "it has just been started"
    board.uptime = REBOOT_AFTER_S
    assert "the machine is restarted" in str(board.lives(3.0, CRASH))
    assert board.ran.count(REBOOT) == 1
    board.uptime = 30.0
    board.lives(3.0, CRASH)
    assert board.ran.count(REBOOT) == 1


def test_each_failure_leaves_a_post_mortem_and_old_ones_go(board: Board) -> None:
    for _ in range(MAX_POST_MORTEMS + 2):
        board.lives(3.0, HUNG)
    assert [path.name for path in board.post_mortems] == [f"{n:06d}.txt" for n in range(3, MAX_POST_MORTEMS + 3)]
    text = board.post_mortems[-1].read_text()
    assert "watchdog (dumped ABRT)" in text and text.endswith("a line of the journal\n")
    assert stat.S_IMODE(board.post_mortems[-1].stat().st_mode) == 0o600


def test_a_post_mortem_that_cannot_be_written_stops_nothing(board: Board) -> None:
    board.lives(3.0, HUNG)
    (board.state / "post-mortem/notes.txt").write_text("an operator's")
    assert "000002.txt" in str(board.lives(3.0, HUNG))
    shutil.rmtree(board.state / "post-mortem")
    (board.state / "post-mortem").touch()
    board.uptime = REBOOT_AFTER_S
    said = [board.lives(3.0, HUNG) for _ in range(REBOOT_FAILURES - 2)][-1]
    assert "no post-mortem (File exists)" in str(said) and board.ran.count(REBOOT) == 1


def test_a_journal_that_takes_too_long_stops_no_restart_of_the_machine(board: Board) -> None:
    """The unit's manager ends what takes longer than TimeoutStopSec= after the end of the node."""
    board.uptime = REBOOT_AFTER_S
    for _ in range(REBOOT_FAILURES):
        board.ran.clear()
        board.lives(3.0, HUNG)
    assert board.ran[0] == REBOOT and len(board.ran) == 3
    unit = (Path(__file__).resolve().parents[2] / "systemd/edge-node.service").read_text()
    (timeout_s,) = re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)
    assert len(board.ran) * COMMAND_DEADLINE_S < int(timeout_s)


def test_what_the_led_showed_before_may_be_lost(board: Board) -> None:
    trigger = board.leds / "ACT/trigger"
    trigger.parent.mkdir(parents=True)
    trigger.write_text("[mmc0]")
    board.lives(3.0, CRASH)
    (board.state / "led").write_text("{}")
    board.faults.started("a")
    assert trigger.read_text() == "none"


def test_the_board_s_own_led_blinks_from_a_failure_to_the_next_start(board: Board) -> None:
    trigger = board.leds / "ACT/trigger"
    trigger.parent.mkdir(parents=True)
    trigger.write_text("none timer [mmc0] heartbeat")
    board.lives(3.0, WRONG)
    assert trigger.read_text() == "timer"
    board.faults.ended(CRASH)
    board.faults.started("a")
    assert trigger.read_text() == "mmc0"
    board.faults.ended(STOPPED)
    assert trigger.read_text() == "mmc0"


def test_no_slot_at_all_blinks_quickly_and_is_over_with_the_next_start(
    board: Board, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    led = board.leds / "ACT"
    led.mkdir(parents=True)
    (led / "trigger").write_text("[mmc0] none timer")
    monkeypatch.setattr("edge_node.update.__main__.Faults", lambda root: board.faults)
    assert command.main(["--root", str(tmp_path / "root"), "guard"]) == 1
    assert "install a bundle with sudo edge-node-slots apply" in capsys.readouterr().err
    assert (led / "trigger").read_text() == "timer" and (led / "delay_on").read_text() == str(QUICK_MS)
    board.lives(3.0, CRASH)
    assert (led / "trigger").read_text() == "timer" and (led / "delay_off").read_text() == str(BLINK_MS)
    board.faults.no_slot()
    assert (led / "delay_off").read_text() == str(QUICK_MS)
    board.faults.started("a")
    assert (led / "trigger").read_text() != "timer"


def test_an_led_that_refuses_is_no_fault(board: Board) -> None:
    (board.leds / "led0/trigger").mkdir(parents=True)
    board.lives(3.0, CRASH)
    assert board.faults.failures == 1


def test_a_damaged_file_counts_nothing(board: Board) -> None:
    board.lives(3.0, CRASH)
    (board.state / "faults").write_text('{"failures": "many"}')
    assert board.faults.failures == 0
    (board.state / "faults").write_text('{"fail')
    assert board.faults.failures == 0


def test_the_command_that_the_unit_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    slots = Slots(tmp_path, this_python())
    slots.prepare()
    for name, value in (("SERVICE_RESULT", "signal"), ("EXIT_CODE", "killed"), ("EXIT_STATUS", "SEGV")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", "")
    words = ["--root", str(tmp_path), "ended"]
    assert command.main(words) == 0 and capsys.readouterr().out == ""
    assert command.main(["--root", str(tmp_path), "guard"]) == 1, "no slot"
    Faults(tmp_path, leds=tmp_path).started("a")
    assert command.main(words) == 0
    assert "failure 1 in a row: signal (killed SEGV)" in capsys.readouterr().out


def test_commands_that_cannot_be_run_say_nothing() -> None:
    assert run(["/no/such/program"]) == ""
    assert run(["echo", "here"]) == "here\n"
    assert uptime_s() > 0
