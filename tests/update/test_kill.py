"""SIGKILL at any moment of an update's life; EDGE_NODE_ROUNDS=200 for the whole of it."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from edge_node.update.records import Pending
from edge_node.update.slots import MAX_EARLY_FAILURES
from tests.support.update_lab import Machine, Publisher

ROOT = Path(__file__).parents[2]
ROUNDS = int(os.environ.get("EDGE_NODE_ROUNDS", "6"))
UNDERSTANDS = {"1.0.0": ("1", "2"), "1.1.0": ("1", "2", "3")}


def _run(folder: Path, *words: str, step: int = 0, kill_after_s: float = 120.0) -> tuple[float, bool]:
    """In a process of its own, killed with all it started after so many seconds, or before a step of its own; returns
    how long it took, whether it was killed."""
    command = [sys.executable, "-m", "tests.support.update_lab", str(folder), str(step), *words]
    begun = time.monotonic()
    process = subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        process.wait(kill_after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()
    return time.monotonic() - begun, process.returncode == -9


@pytest.mark.slow
def test_sigkill_of_apply_leaves_a_working_slot(first: Path, tmp_path: Path, publisher: Publisher) -> None:
    """At a random moment, or between two of its steps, then the machine starts again."""
    folder = tmp_path / "machine"
    shutil.copytree(first, folder, symlinks=True)
    machine = Machine(folder)
    bundles = {version: publisher.bundle(version) for version in ("1.0.0", "1.1.0", "1.2.0")}
    bundles["1.3.0"] = publisher.bundle("1.3.0", status="sys.exit(1)")
    lots = random.Random(20261121)
    whole_s, _ = _run(folder, "apply", str(publisher.trust), str(bundles["1.1.0"]))
    seen: Counter[str] = Counter()
    for number in range(ROUNDS):
        before = machine.version
        target = lots.choice([version for version in bundles if version != before])
        words = ("apply", str(publisher.trust), str(bundles[target]))
        if number % 2:
            _run(folder, *words, step=lots.randint(1, 60))
        else:
            _run(folder, *words, kill_after_s=lots.uniform(0.0, 1.2 * whole_s))
        for start in range(lots.randint(1, 3)):  # power comes back, perhaps to be cut again
            machine.slots.guard()
            on_trial = machine.slots.pending() is not None
            assert on_trial or machine.version in ("1.0.0", "1.1.0", "1.2.0"), f"round {number}, start {start}"
        machine.updater.settle()
        assert machine.version in ("1.0.0", "1.1.0", "1.2.0"), f"round {number}: {target} over {before}"
        assert machine.settings.read_text() == "1"
        seen["kept" if machine.version == before else "changed"] += 1
    print(f"{ROUNDS} rounds: {dict(seen)}")


@pytest.mark.slow
def test_sigkill_of_rollback_guard_and_settle_leaves_a_working_slot(machine: Machine, publisher: Publisher) -> None:
    """Each between two of its steps, the guard and settle while they mend what the kill before left; with settings
    that only the newer version takes."""
    machine.updater.apply(publisher.bundle("1.1.0", understands=UNDERSTANDS["1.1.0"]), publisher.keys)
    folder, lots = machine.settings.parent, random.Random(7)
    seen: Counter[str] = Counter()
    for number in range(ROUNDS):
        before = machine.version
        if before == "1.1.0":
            machine.settings.write_text("3")
        if number % 3 == 0:
            seen["rollback"] += _run(folder, "rollback", step=lots.randint(1, 36))[1]
        elif number % 3 == 1:
            old, new = str(machine.slots.current()), machine.slots.idle()
            version = str((machine.slots.about(new) or {})["version"])
            machine.slots.begin(Pending(f"trial {number}", old, new, version, "0", True))
            seen["settle"] += _run(folder, "settle", lots.choice(("online", "offline")), step=lots.randint(1, 12))[1]
        for _ in range(lots.randint(1, 3)):
            early = lots.choice((0, MAX_EARLY_FAILURES))
            seen["guard"] += _run(folder, "guard", str(early), step=lots.randint(1, 24))[1]
        machine.slots.guard()
        machine.updater.settle()
        assert machine.version in UNDERSTANDS, f"round {number} from {before}"
        assert machine.settings.read_text() in UNDERSTANDS[machine.version], f"round {number} from {before}"
    assert all(seen.values()), seen
    print(f"{ROUNDS} rounds, killed: {dict(seen)}")
