"""What is done about a node that keeps failing: counted, written down, shown; the machine restarted as the last resort.

    ROOT/state/faults          `failures` in a row, `early` of them by the slot that runs, its name `slot`,
                               `started_s`: the uptime at which the present run began
    ROOT/state/post-mortem/    for each of the last failures: how it ended, the last lines of the journal (0600)
    ROOT/state/led             what the board's own LED showed before it showed a fault

A run that lasted STEADY_S, or ended in order, ends the row. From SAFE_MODE_FAILURES on the node starts without its
media; at REBOOT_FAILURES the machine is restarted, if it has been up for REBOOT_AFTER_S: so at most once an hour.
A run that failed within EARLY_S of its start is an early failure of its slot: after a few of them in a row, before
the safe mode, the other slot is tried (slots.py). Wrong settings are nobody's failure, nor is a start for which there
is no slot.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_node.durable import read_json
from edge_node.update.files import remove, write_json

STEADY_S = 600.0
EARLY_S = 100.0
"""More than TimeoutStartSec= of the unit: a start that hangs is one."""
SAFE_MODE_FAILURES = 5
REBOOT_FAILURES = 10
REBOOT_AFTER_S = 3600.0
EX_CONFIG = "78"
MAX_POST_MORTEMS = 5
JOURNAL_LINES = 80
COMMAND_DEADLINE_S = 3.0
"""Three of them, with Python's start, fit into TimeoutStopSec=10 of the unit."""
UNIT = "edge-node.service"
LEDS = ("ACT", "led0", "PWR", "led1")
"""A Raspberry Pi's own, by their names since Linux 6.1 and before."""
BLINK_MS, QUICK_MS = 500, 100
"""The node failed; no slot can run at all."""


@dataclass(frozen=True, slots=True)
class End:
    """How a run ended: SERVICE_RESULT, EXIT_CODE, EXIT_STATUS of systemd.exec(5), as given to ExecStopPost=."""

    result: str
    code: str
    status: str

    @property
    def in_order(self) -> bool:
        return self.result == "success"

    @property
    def wrong_settings(self) -> bool:
        return (self.result, self.status) == ("exit-code", EX_CONFIG)

    def __str__(self) -> str:
        return f"{self.result} ({self.code} {self.status})"


def run(words: Sequence[str]) -> str:
    """What a command says; nothing when it cannot be run."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=COMMAND_DEADLINE_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def uptime_s() -> float:
    """Seconds since the machine started."""
    return float(Path("/proc/uptime").read_text().split()[0])


class Faults:
    """The row of failures under one root; what writes is run by root, outside the sandbox."""

    def __init__(
        self,
        root: Path,
        *,
        run: Callable[[Sequence[str]], str] = run,
        uptime_s: Callable[[], float] = uptime_s,
        leds: Path = Path("/sys/class/leds"),
    ) -> None:
        self._state = root / "state"
        self._file = self._state / "faults"
        self._run = run
        self._uptime_s = uptime_s
        self._leds = leds

    @property
    def failures(self) -> int:
        """In a row, so far."""
        return int(self._read().get("failures", 0))

    def early(self, slot: str | None) -> int:
        """Failures in a row right after a start of this slot."""
        return int(self._read().get("early", 0)) if slot is not None and slot == self._slot() else 0

    def started(self, slot: str) -> None:
        """A run of this slot begins."""
        early = self.early(slot)
        self._write({"failures": self.failures, "early": early, "slot": slot, "started_s": self._uptime_s()})
        self._show_fault(self.failures >= SAFE_MODE_FAILURES)

    def no_slot(self) -> None:
        """Nothing can be started: nobody's failure, and shown as another fault."""
        self._show_fault(True, QUICK_MS)

    def ended(self, end: End) -> str | None:
        """The run is over. Returns what was done about it, None when there was nothing to do."""
        known = self._read()
        began_s = known.get("started_s")
        if began_s is None:
            return None
        if end.in_order or end.wrong_settings:
            self._write({"failures": 0})
            self._show_fault(not end.in_order)
            return None
        lasted_s, slot = self._uptime_s() - float(began_s), self._slot()
        failures = 1 if lasted_s >= STEADY_S else self.failures + 1
        early = self.early(slot) + 1 if lasted_s < EARLY_S else 0
        self._write({"failures": failures, "early": early, "slot": slot})
        self._show_fault(True)
        done = self._escalate(failures)  # before the journal, which a card that wears out may take too long to read
        try:
            written = str(self._post_mortem(end, failures))
        except OSError as err:  # a full disk: a restart may be what helps
            written = f"no post-mortem ({err.strerror})"
        return f"failure {failures} in a row: {end}; {written}{done}"

    def _escalate(self, failures: int) -> str:
        if failures >= REBOOT_FAILURES and self._uptime_s() >= REBOOT_AFTER_S:
            self._run(["systemctl", "--no-block", "reboot"])
            return "; the machine is restarted"
        return "; the next start is without media" if failures >= SAFE_MODE_FAILURES else ""

    def _read(self) -> dict[str, float]:
        value = read_json(self._file) or {}
        return {key: number for key, number in value.items() if isinstance(number, int | float)}

    def _slot(self) -> str | None:
        slot = (read_json(self._file) or {}).get("slot")
        return slot if isinstance(slot, str) else None

    def _write(self, value: Mapping[str, float | str | None]) -> None:
        self._state.mkdir(parents=True, exist_ok=True)
        write_json(self._file, value)

    def _post_mortem(self, end: End, failures: int) -> Path:
        folder = self._state / "post-mortem"
        folder.mkdir(mode=0o700, exist_ok=True)
        old = sorted(folder.glob(f"{'[0-9]' * 6}.txt"))
        path = folder / f"{int(old[-1].stem) + 1 if old else 1:06d}.txt"
        self._run(["journalctl", "--sync"])
        lines = self._run(
            ["journalctl", "--no-pager", "--boot", "-u", UNIT, "-n", str(JOURNAL_LINES), "-o", "short-iso"]
        )
        text = f"{UNIT} ended: {end}\nfailures in a row: {failures}\n\n{lines}"
        path.write_text(text)
        path.chmod(0o600)
        for file in [*old, path][:-MAX_POST_MORTEMS]:
            file.unlink(missing_ok=True)
        return path

    # The board's own LED needs no process to blink: the kernel does it.

    def _show_fault(self, fault: bool, blink_ms: int = BLINK_MS) -> None:
        trigger = next((path for name in LEDS if (path := self._leds / name / "trigger").exists()), None)
        if trigger is None:
            return
        before = self._state / "led"
        try:
            if fault:
                if not before.exists():
                    chosen = trigger.read_text().partition("[")[2].partition("]")[0]
                    write_json(before, {"trigger": chosen or "none"})
                trigger.write_text("timer")
                for name in ("delay_on", "delay_off"):
                    (trigger.parent / name).write_text(str(blink_ms))
            elif (kept := read_json(before)) is not None:
                trigger.write_text(str(kept.get("trigger", "none")))
                remove(before)
        except OSError:
            return  # an LED is no reason to fail


def this_end() -> End:
    """From the environment that the service manager gives to ExecStopPost=."""
    return End(*(os.environ.get(name, "") for name in ("SERVICE_RESULT", "EXIT_CODE", "EXIT_STATUS")))
