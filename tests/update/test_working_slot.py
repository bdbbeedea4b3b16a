"""At whatever moment: the slot that works is not emptied, nobody is cut off, somebody judges a trial."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_node.errors import EdgeNodeError
from edge_node.update import build, files, slots
from edge_node.update.__main__ import main
from edge_node.update.bundle import BundleRefused
from edge_node.update.records import Pending
from edge_node.update.show import dump, text
from tests.support.update_lab import Machine, Publisher

ROOT = Path(__file__).parents[2]
FAILS = [["-c", "raise SystemExit('no')"]]


def _damage_current(machine: Machine) -> None:
    (machine.slots.link / "slot.json").write_text("{cut")


def _lose_link(machine: Machine) -> None:
    machine.slots.link.unlink()


@pytest.mark.parametrize("spoil", [_damage_current, _lose_link])
@pytest.mark.parametrize("command", ["apply", "install"])
def test_the_only_slot_that_works_is_not_emptied(
    machine: Machine, publisher: Publisher, spoil: Callable[[Machine], None], command: str
) -> None:
    """The card spoilt the slot that runs; a bundle that does not work comes before the next start."""
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    spoil(machine)
    with pytest.raises(BundleRefused, match="does not work here"):
        getattr(machine.updater, command)(publisher.bundle("1.2.0", preflight=FAILS), publisher.keys)
    machine.slots.guard()
    assert machine.version in ("1.0.0", "1.1.0")


def test_the_way_back_of_a_trial_is_not_emptied(machine: Machine, publisher: Publisher) -> None:
    """`install` has no trial of its own, but must not take another's way back."""
    machine.updater.apply(publisher.bundle("1.1.0", status="sys.exit(1)"), publisher.keys)
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    machine.slots.begin(Pending("x", "b", "a", "1.0.0", "0", True))
    machine.slots.guard()
    with pytest.raises(BundleRefused, match="does not work here"):
        machine.updater.install(publisher.bundle("1.2.0", preflight=FAILS), publisher.keys)
    assert machine.slots.pending() is None and machine.version == "1.1.0"
    assert "1.0.0 taken back: another version was installed meanwhile" in text(machine.slots)
    machine.updater.install(publisher.bundle("1.2.0"), publisher.keys)
    assert machine.version == "1.2.0"


def test_install_goes_back_only_when_told_to(
    machine: Machine, publisher: Publisher, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bundle that was forgotten in a folder does not take the place of a newer one."""
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    words = ["--root", str(machine.slots.root), "--trust", str(publisher.trust), "install"]
    assert main([*words, str(publisher.bundle("1.0.0"))]) == 2
    assert "older than 1.1.0" in capsys.readouterr().err and machine.version == "1.1.0"
    assert main([*words, "--allow-downgrade", str(publisher.bundle("1.0.0"))]) == 0
    assert machine.version == "1.0.0"


def test_a_machine_without_a_working_slot_starts_what_it_was_given(machine: Machine, publisher: Publisher) -> None:
    for name in ("a", "b"):
        shutil.rmtree(machine.slots.path(name))
    assert machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert machine.version == "1.1.0" and len(machine.world.starts) == 1


# Nobody is cut off


class _Ringing:
    """A call begins when this is asked for the n-th time, and lasts for some looks."""

    def __init__(self, machine: Machine, monkeypatch: pytest.MonkeyPatch, at: int, looks: int) -> None:
        self.asked = 0
        self.restarts: list[bool] = []
        real_status, real_restart = machine.world.status, machine.world.restart

        def on() -> bool:
            return at <= self.asked < at + looks

        def status() -> dict[str, Any] | None:
            self.asked += 1
            answer = real_status()
            if answer is not None and on():
                answer["call"] = {"state": "active"}
            return answer

        def restart() -> None:
            self.restarts.append(on())
            real_restart()

        monkeypatch.setattr(machine.world, "status", status)
        monkeypatch.setattr(machine.world, "restart", restart)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_call_that_begins_while_the_update_is_written_down(
    machine: Machine, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    ringing = _Ringing(machine, monkeypatch, at, looks=30)
    assert machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert ringing.restarts == [False] and machine.version == "1.1.0"


def test_one_that_does_not_end_leaves_everything_as_it_was(
    machine: Machine, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    _Ringing(machine, monkeypatch, at=3, looks=100_000)
    machine.world.pace = 60.0
    with pytest.raises(EdgeNodeError, match="15 minutes"):
        machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert machine.version == "1.0.0" and machine.world.starts == [] and machine.slots.pending() is None
    assert machine.slots.history()[-1]["outcome"] == "interrupted"
    assert machine.slots.withdraw() is None


def test_a_new_package_restarts_the_node_when_nobody_is_cut_off(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What its postinst does when there is no new version to go with it."""
    ringing = _Ringing(machine, monkeypatch, at=1, looks=5)
    words = ["--root", str(machine.slots.root), "restart"]
    assert main(words, machine.world) == 0 and ringing.restarts == [False]
    assert "try-restart edge-node.service" not in (ROOT / "provisioning/deb/postinst").read_text()
    _Ringing(machine, monkeypatch, at=1, looks=100_000)
    machine.world.pace = 60.0
    assert main(words, machine.world) == 1 and "does not end" in capsys.readouterr().err
    assert machine.world.starts == ["a"]


def test_returning_to_the_old_version_waits_for_a_call_too(
    machine: Machine, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.world.online = True
    ringing = _Ringing(machine, monkeypatch, at=5, looks=200)
    real = machine.world.restart

    def restart() -> None:
        real()
        machine.world.online = machine.slots.current() == "a"

    monkeypatch.setattr(machine.world, "restart", restart)
    assert not machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert ringing.restarts == [False, False] and machine.version == "1.0.0"
    assert "waiting for the call to end" in machine.said


def test_a_version_that_the_guard_takes_back_during_that_call(
    machine: Machine, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait() -> bool:
        if (pending := machine.slots.pending()) is not None and machine.world.starts:
            machine.slots.take_back(f"the guard was there before: {pending.version}")
        return True

    monkeypatch.setattr(machine.updater, "_wait_for_idle", wait)
    assert not machine.updater.apply(publisher.bundle("1.1.0", status="sys.exit(1)"), publisher.keys)
    assert len(machine.world.starts) == 1 and machine.version == "1.0.0"


def test_a_daemon_that_is_silent_for_a_moment_may_be_in_a_call(
    machine: Machine, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = machine.world.status, iter([None, None])
    machine.world.calls = 5
    monkeypatch.setattr(machine.world, "status", lambda: next(asked, real()))
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert "waiting for the call to end" in machine.said


# Someone always judges a trial


def test_a_trial_is_taken_over_when_the_updater_is_gone(machine: Machine, publisher: Publisher) -> None:
    """`settle`, which comes with each start of the unit, waits beside whoever began the update."""
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from edge_node.update.slots import Slots\n"
        "with Slots(Path(sys.argv[1]), sys.argv[2]).busy():\n"
        "    print('mine', flush=True)\n"
        "    time.sleep(600)\n"
    )
    words = [sys.executable, "-c", script, str(machine.slots.root), machine.slots.python]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None and first.stdout.readline() == "mine\n"
        assert machine.slots.is_busy() and dump(machine.slots)["busy"]
        assert "an update is being installed" in text(machine.slots)
        machine.slots.begin(Pending("x", "b", "a", "1.0.0", "0", True))
        machine.slots.guard()
        assert "an update is being installed" not in text(machine.slots)
        settled: list[bool | None] = []
        second = threading.Thread(target=lambda: settled.append(machine.updater.settle()))
        second.start()
        first.kill()
    second.join(60.0)
    assert settled == [True] and machine.version == "1.0.0" and not machine.slots.is_busy()


def test_the_unit_brings_it_with_each_start() -> None:
    assert "\nWants=edge-node-settle.service\n" in (ROOT / "systemd/edge-node.service").read_text()
    settle = (ROOT / "systemd/edge-node-settle.service").read_text()
    assert "\nAfter=edge-node.service\n" in settle and "\nType=exec\n" in settle, "starting the node waits for no trial"


# A disk that is full while a trial ends


def _full_for(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    left, real = times, files.write_json

    def write(path: Path, value: Any) -> None:
        nonlocal left
        if path.name == "accepted" and left:
            left -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(path, value)

    monkeypatch.setattr("edge_node.update.slots.write_json", write)


def test_a_disk_that_is_full_for_a_while(
    machine: Machine, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    _full_for(monkeypatch, 5)
    assert machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert (
        machine.said.count("what became of the update cannot be written down (No space left on device): make room") == 1
    )


def test_a_disk_that_stays_full(machine: Machine, publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    _full_for(monkeypatch, 10_000)
    with pytest.raises(EdgeNodeError, match="make room, then run edge-node-slots settle"):
        machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert machine.version == "1.1.0" and machine.slots.pending() is not None
    monkeypatch.undo()
    assert machine.updater.settle() and machine.slots.accepted()["version"] == "1.1.0"


def test_nobody_holds_what_is_not_there(tmp_path: Path) -> None:
    assert files.held(tmp_path / "absent") is False


NOBODY = 65_534


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_others_can_neither_hold_up_an_update_nor_ask_for_it(machine: Machine) -> None:
    state = machine.slots.root / "state"

    def lock(name: str) -> int:
        """0: it could; 66 (EX_NOINPUT): it may not even open it."""
        command = ["flock", "--nonblock", name, "true"]
        done = subprocess.run(command, cwd=state, user=NOBODY, group=NOBODY, extra_groups=(), check=False)
        return done.returncode

    for name in ("busy", "lock"):
        (state / name).touch()
        (state / name).chmod(0o644)  # as before it was known
        assert lock(name) == 0
    with machine.slots.busy():
        machine.slots.accept()
        assert [lock(name) for name in ("busy", "lock")] == [66, 66]
    assert [(state / name).stat().st_mode & 0o777 for name in ("busy", "lock")] == [0o600, 0o600]
    os.seteuid(NOBODY)
    try:
        assert files.held(state / "busy") is None
    finally:
        os.seteuid(0)


def test_who_may_not_know_of_an_update_is_told_so(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "being installed" not in text(machine.slots)
    monkeypatch.setattr(slots, "held", lambda path: None)
    assert "is root's to know: ask with sudo" in text(machine.slots)
    assert dump(machine.slots)["busy"] is None


# The guard's own ground


def test_a_slot_cannot_be_filled_without_pip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ensurepip", None)
    monkeypatch.setattr(build, "WHEELS", tmp_path)
    with pytest.raises(EdgeNodeError, match="apt-get install python3-venv"):
        build.pip_wheel()
    (tmp_path / "pip-26.0-py3-none-any.whl").touch()
    assert build.pip_wheel().parent == tmp_path


def test_the_guard_runs_without_site_packages(machine: Machine) -> None:
    """As provisioning/deb/edge-node-slots starts it, but by any Python's isolated mode."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from edge_node.update.__main__ import main\n"
        "status = main(sys.argv[1:])\n"
        "foreign = [m for m in sys.modules.values() if 'site-packages' in str(getattr(m, '__file__', ''))]\n"
        "assert not foreign and 'site' not in sys.modules, foreign\n"
        "sys.exit(status)\n"
    )
    words = ["--root", str(machine.slots.root), "--settings", str(machine.settings)]
    for what in ("guard", "status"):
        without = "import sys; sys.modules['ensurepip'] = None\n"  # amid an upgrade of the system python3-venv is away
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-B", "-c", without + code, *words, what],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert "slot a: 1.0.0, runs" in done.stdout
    assert " -S " in (ROOT / "provisioning/deb/edge-node-slots").read_text()
    assert json.loads((machine.slots.root / "state/faults").read_text())["slot"] == "a"
