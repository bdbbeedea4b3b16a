"""Updates as an operator meets them: kept, taken back, refused, cut off anywhere."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from edge_node.errors import EdgeNodeError
from edge_node.update import build
from edge_node.update.__main__ import main
from edge_node.update.bundle import (
    FORMAT,
    MAX_BUNDLE_BYTES,
    Bundle,
    BundleRefused,
    Manifest,
    hashes,
    pack,
    read_manifest,
    version_key,
)
from edge_node.update.commands import credentials
from edge_node.update.health import DEADLINE_S, Bad, Good, HealthGate
from edge_node.update.records import Pending
from edge_node.update.show import dump, text
from edge_node.update.slots import MAX_STARTS, this_python
from tests.support.update_lab import Machine, Publisher

ROOT = Path(__file__).parents[2]


def test_names_of_wheels_may_be_long(publisher: Publisher, tmp_path: Path) -> None:
    name = f"wheels/{'x' * 120}-cp313-cp313-manylinux_2_17_aarch64.manylinux2014_aarch64.whl"
    (tmp_path / "wheels").mkdir()
    (tmp_path / name).write_bytes(b"wheel")
    pack(tmp_path / "b.tar", Manifest("1.0.0", "any", "3.13", "0", hashes(tmp_path)), tmp_path, publisher.key)
    with Bundle(tmp_path / "b.tar", publisher.keys) as bundle:
        bundle.unpack(tmp_path / "out")
    assert (tmp_path / "out" / name).read_bytes() == b"wheel"


@pytest.mark.usefixtures("pip")
def test_a_good_update_is_kept(machine: Machine, publisher: Publisher, syncs: list[str]) -> None:
    """With pip, as on a device."""
    assert machine.version == "1.0.0"
    syncs.clear()
    assert machine.updater.apply(publisher.bundle("1.1.0", floor="1.0.5"), publisher.keys)
    assert syncs == ["sync"], "the new slot is on the disk before it counts as whole"
    assert machine.version == "1.1.0" and machine.world.starts == ["b"]
    accepted = {"slot": "b", "version": "1.1.0", "floor": "1.0.5"}
    assert machine.slots.accepted() == {**accepted, "id": machine.slots.history()[-1]["id"]}
    assert "slot b: 1.1.0, runs" in text(machine.slots) and dump(machine.slots)["pending"] is None
    assert machine.slots.guard() is None


@pytest.mark.parametrize("how", ["apply", "install"])
def test_the_daemon_may_read_it_whoever_installs_it(machine: Machine, publisher: Publisher, how: str) -> None:
    """A root shell's umask may be 077."""
    bundle, before = publisher.bundle("2.0.0"), os.umask(0o077)
    try:
        getattr(machine.updater, how)(bundle, publisher.keys)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    slot = machine.slots.path("b")
    hidden = [path for path in (slot, *slot.rglob("*")) if path.stat().st_mode & 0o004 == 0]
    assert hidden == [] and (slot / "venv/bin").stat().st_mode & 0o005 == 0o005


def test_the_next_one_goes_into_the_other_slot_and_back(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    machine.updater.apply(publisher.bundle("1.2.0"), publisher.keys)
    assert machine.slots.current() == "a" and machine.version == "1.2.0"
    assert machine.updater.rollback() and machine.version == "1.1.0"


def test_one_that_never_answers_is_taken_back(machine: Machine, publisher: Publisher) -> None:
    assert not machine.updater.apply(publisher.bundle("1.1.0", status="sys.exit(1)"), publisher.keys)
    assert machine.version == "1.0.0" and machine.world.now() >= DEADLINE_S
    assert "1.1.0 taken back: it does not answer" in text(machine.slots)


def test_one_that_keeps_crashing_is_taken_back_by_the_guard(machine: Machine, publisher: Publisher) -> None:
    bundle = publisher.bundle("1.1.0")
    machine.world.crashes = 0
    calls = machine.world.restart

    def restart_into_a_crash_loop() -> None:
        calls()
        machine.world.crashes = MAX_STARTS

    machine.world.restart = restart_into_a_crash_loop  # type: ignore[method-assign]
    assert not machine.updater.apply(bundle, publisher.keys)
    assert machine.version == "1.0.0"
    assert machine.slots.history()[-1]["reason"] == f"it did not prove itself in {MAX_STARTS} starts"


def test_one_that_is_taken_back_before_anybody_looks(machine: Machine, publisher: Publisher) -> None:
    def restart_and_die() -> None:
        for _ in range(MAX_STARTS + 1):
            machine.slots.guard()

    machine.world.restart = restart_and_die  # type: ignore[method-assign]
    assert not machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert machine.version == "1.0.0" and machine.slots.pending() is None


def test_one_that_stays_off_its_channel_is_taken_back(machine: Machine, publisher: Publisher) -> None:
    restart = machine.world.restart

    def restart_offline() -> None:
        restart()
        machine.world.online = machine.slots.current() == "a"

    machine.world.restart = restart_offline  # type: ignore[method-assign]
    assert not machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert machine.slots.history()[-1]["reason"] == f"it does not get onto its channel after {DEADLINE_S:g} s"


def test_an_outage_that_existed_before_does_not_count(machine: Machine, publisher: Publisher) -> None:
    machine.world.online = False
    assert machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)


def test_never_during_a_call(machine: Machine, publisher: Publisher) -> None:
    machine.world.calls = 5
    assert machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert machine.said.count("waiting for the call to end") == 1 and machine.world.now() >= 5


def test_a_call_that_never_ends_keeps_the_old_version(machine: Machine, publisher: Publisher) -> None:
    machine.world.calls = 10**6
    machine.world.sleep(1.0)
    machine.world.sleep = lambda seconds: setattr(machine.world, "_time", machine.world._time + 600)  # type: ignore[method-assign]
    with pytest.raises(EdgeNodeError, match="a call has been on"):
        machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert machine.version == "1.0.0"


def test_settings_that_went_forward_come_back(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    machine.settings.write_text("3")  # a migration that 1.0.0 does not understand
    assert machine.updater.rollback()
    assert machine.version == "1.0.0" and machine.settings.read_text() == "1"
    assert machine.settings.with_name("edge-node.toml.set-aside").read_text() == "3"


def test_settings_that_both_understand_stay(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    machine.settings.write_text("2")
    assert machine.updater.rollback() and machine.settings.read_text() == "2"


def test_a_trial_that_was_cut_off_goes_on(machine: Machine, publisher: Publisher) -> None:
    assert machine.updater.settle() is None
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    machine.slots.begin(Pending("x", "b", "a", "1.0.0", "0", True))
    machine.slots.guard()
    assert machine.updater.settle() and machine.slots.history()[-1]["version"] == "1.0.0"


def test_one_update_at_a_time(machine: Machine, publisher: Publisher) -> None:
    with machine.slots.busy(), pytest.raises(EdgeNodeError, match="another update"):
        machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)


def test_none_while_the_last_one_is_on_trial(machine: Machine, publisher: Publisher) -> None:
    machine.slots.begin(Pending("x", "a", "b", "1.1.0", "0", True))
    with pytest.raises(EdgeNodeError, match="still proving itself"):
        machine.updater.apply(publisher.bundle("1.2.0"), publisher.keys)


def test_no_way_back_without_another_version(machine: Machine) -> None:
    with pytest.raises(EdgeNodeError, match="no other version"):
        machine.updater.rollback()


def test_no_way_back_below_the_floor(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0", floor="1.1.0"), publisher.keys)
    with pytest.raises(EdgeNodeError, match="still safe"):
        machine.updater.rollback()


# What is refused


def _alter(path: Path, old: bytes, new: bytes) -> Path:
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    return path


def _cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


BAD: dict[str, Callable[[Publisher], Path]] = {
    "not what was signed": lambda p: _alter(p.bundle("1.1.0"), b"edge_node/__init__.py", b"edge_node/__init__.pX"),
    "was altered": lambda p: _alter(p.bundle("1.1.0"), b'"floor": "0"', b'"floor": "1"'),
    "signed by nobody": lambda p: p.bundle("1.1.0", key=Publisher(p.folder / "other").key),
    "damaged|cut off|lacks|not what was signed": lambda p: _cut(p.bundle("1.1.0"), 0.35),
    "manifest or signature is missing|cannot be read": lambda p: _cut(p.bundle("1.1.0"), 0.0),
    "cannot be read": lambda p: p.folder / "absent.tar",
    "for riscv64": lambda p: p.bundle("1.1.0", arch="riscv64"),
    r"for Python 2\.7": lambda p: p.bundle("1.1.0", python="2.7"),
    "runs already": lambda p: p.bundle("1.0.0"),
    r"older than 1\.0\.0": lambda p: p.bundle("0.9.0"),
    "is no version": lambda p: p.bundle("1.1.0", floor="newest"),
    "below its own floor": lambda p: p.bundle("1.1.0", floor="2.0"),
    "does not work here.*no camera": lambda p: p.bundle("1.1.0", preflight=[["-c", "raise SystemExit('no camera')"]]),
    "lacks wheels/gone.whl": lambda p: _with_files(p, {"wheels/gone.whl": "0" * 64}),
    "not one of ours": lambda p: _with_files(p, {"../../etc/passwd": "0" * 64}),
    "does not name": lambda p: _append(p.bundle("1.1.0"), b"extra"),
}


@pytest.mark.parametrize("why", BAD)
def test_a_bad_bundle_is_refused_with_its_reason(machine: Machine, publisher: Publisher, why: str) -> None:
    with pytest.raises(BundleRefused, match=f"(?s){why}"):
        machine.updater.apply(BAD[why](publisher), publisher.keys)
    assert machine.version == "1.0.0" and machine.slots.pending() is None


def test_nothing_is_taken_where_nobody_is_trusted(machine: Machine, publisher: Publisher) -> None:
    with pytest.raises(BundleRefused, match="no key is trusted"):
        machine.updater.apply(publisher.bundle("1.1.0"), [])


def _with_files(publisher: Publisher, files: dict[str, str]) -> Path:
    """A signed manifest that names files which are not in the tar."""

    class Bare:
        files: ClassVar[dict[str, str]] = {}

        def to_json(self) -> dict[str, object]:
            return {
                "format": FORMAT, "version": "1.1.0", "arch": "any", "python": this_python(), "floor": "0",
                "files": files, "preflight": [],
            }  # fmt: skip

    out = publisher.folder / f"bare-{abs(hash(json.dumps(files)))}.tar"
    pack(out, Bare(), publisher.folder, publisher.key)  # type: ignore[arg-type]
    return out


def _append(path: Path, content: bytes) -> Path:
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("extra")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "version": 1}'])
def test_a_manifest_of_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(BundleRefused):
        read_manifest(data)


def test_a_manifest_of_other_types_is_refused() -> None:
    with pytest.raises(BundleRefused, match="cannot be read"):
        read_manifest(
            b'{"format": 1, "version": "1", "arch": "any", "python": "3", "floor": "0", "files": {"a": 1},'
            b' "preflight": []}'
        )


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.tar"
    with path.open("wb") as file:
        file.truncate(MAX_BUNDLE_BYTES + 1)
    with pytest.raises(BundleRefused, match="no bundle of ours"):
        Bundle(path, [])


def test_a_full_disk_is_told_before_anything_is_touched(machine: Machine, publisher: Publisher) -> None:
    with Bundle(publisher.bundle("1.1.0"), publisher.keys) as bundle, pytest.raises(BundleRefused, match="make room"):
        build.check(machine.slots, bundle.manifest, 1 << 50)


def test_going_back_needs_a_word(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.2.0", floor="1.0.0"), publisher.keys)
    assert machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys, downgrade=True)
    with pytest.raises(BundleRefused, match="still safe"):
        machine.updater.apply(publisher.bundle("0.9.0"), publisher.keys, downgrade=True)


def test_versions_compare_by_number() -> None:
    assert version_key("1.10") > version_key("1.9.9") and version_key("1.0") == version_key("1.0.0")
    for wrong in ("", "1.x", "v1", "1.2.3.4.5", "1" * 10):
        with pytest.raises(BundleRefused):
            version_key(wrong)


# The guard


def test_the_guard_leaves_a_slot_that_is_gone(machine: Machine, publisher: Publisher) -> None:
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    (machine.slots.path("b") / "slot.json").write_text("{cut")
    assert machine.slots.guard() == "slot b cannot run, so slot a does"
    machine.slots.link.unlink()
    assert machine.slots.guard() == "slot a runs"


def test_the_guard_says_so_when_no_slot_runs(machine: Machine) -> None:
    machine.slots.python = "3.99"
    with pytest.raises(EdgeNodeError, match=r"this system now has 3\.99"):
        machine.slots.guard()
    shutil.rmtree(machine.slots.path("a"))
    with pytest.raises(EdgeNodeError, match="install a bundle"):
        machine.slots.guard()


def test_a_machine_whose_slots_are_both_bad_takes_a_bundle(machine: Machine, publisher: Publisher) -> None:
    shutil.rmtree(machine.slots.path("a"))
    assert machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    assert machine.version == "1.1.0"


def test_a_pending_file_of_nonsense_is_none(machine: Machine) -> None:
    (machine.slots.root / "state/pending").write_text('{"what": 1}')
    assert machine.slots.pending() is None and machine.slots.guard() is None


def test_each_step_of_the_guard_can_be_cut_off(machine: Machine, publisher: Publisher) -> None:
    """The states that a power cut between two renames leaves."""
    machine.updater.apply(publisher.bundle("1.1.0"), publisher.keys)
    pending = Pending("cut", "b", "a", "1.0.0", "0", True)
    machine.slots.begin(pending)
    machine.slots.link.unlink()
    machine.slots.link.symlink_to("slots/b")  # written, but not yet switched
    assert machine.slots.guard() == "the update to 1.0.0 had been interrupted"
    machine.slots.begin(Pending("cut2", "b", "a", "1.0.0", "0", True, verdict="a bad day"))  # being taken back
    assert machine.slots.guard() == "the update to 1.0.0 was taken back: a bad day"
    assert machine.slots.current() == "b"
    machine.slots.begin(Pending("cut3", "b", "a", "1.0.0", "0", True))
    (machine.slots.root / "state/accepted").write_text('{"slot": "a", "version": "1.0.0", "floor": "0", "id": "cut3"}')
    assert machine.slots.guard() is None and machine.slots.pending() is None  # had been accepted
    assert [entry["id"] for entry in machine.slots.history()].count("cut3") == 1


def test_the_gate_waits_for_one_and_the_same_process() -> None:
    gate = HealthGate("2", was_online=True)
    status = {"node": {"version": "2"}, "uptime_s": 5.0, "channel": {"state": "joined"}}
    assert gate.look(status, 0) is None and gate.look({**status, "node": {"version": "1"}}, 1) is None
    assert gate.look({**status, "uptime_s": 30.0}, 40) == Good()
    assert gate.look(status, DEADLINE_S) == Bad(f"it keeps being started again after {DEADLINE_S:g} s")


# The command outside the slots


def test_the_command_of_the_guard(
    machine: Machine, publisher: Publisher, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    base = ["--root", str(machine.slots.root), "--settings", str(machine.settings), "--trust", str(publisher.trust)]
    assert main([*base, "guard"]) == 0
    assert main([*base, "apply", str(publisher.bundle("1.1.0"))], machine.world) == 0
    assert main([*base, "rollback"], machine.world) == 0
    assert main([*base, "settle"], machine.world) == 0
    assert main([*base, "status"]) == 0
    assert "slot a: 1.0.0, runs" in capsys.readouterr().out
    assert main([*base, "apply", str(tmp_path / "none.tar")], machine.world) == 2
    assert main(["--root", str(tmp_path / "bare"), "guard"]) == 1
    bare = ["--root", str(tmp_path / "bare"), "--trust", str(publisher.trust)]
    assert main([*bare, "install", str(publisher.bundle("1.1.0"))]) == 0
    assert "install a bundle" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["settle", "rollback"])
def test_whoever_is_tired_of_waiting_may_go(word: str, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def tired(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"edge_node.update.updater.Updater.{word}", tired)
    assert main(["--root", str(machine.slots.root), word]) == 130


def test_the_room_stands_on_the_standard_library() -> None:
    """It is installed outside the slots, where nothing else is."""
    for path in sorted((ROOT / "edge_node/update").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                own = name.startswith(("edge_node.update.", "edge_node.errors", "edge_node.durable"))
                own = own or name == "edge_node.update"
                assert own or name.split(".")[0] in sys.stdlib_module_names, f"{path.name} imports {name}"


def test_settings_are_checked_with_the_unit_s_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "bin/systemd-creds"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$2" = --name=edge-node.token ] && cp "$3" "$4"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    for store, name in (("credstore", "api_key"), ("credstore.encrypted", "token"), ("credstore.encrypted", "other")):
        (tmp_path / store).mkdir(exist_ok=True)
        (tmp_path / store / f"edge-node.{name}").write_text(f"the {name}")
    with credentials(tmp_path, tmp_path) as env:
        folder = Path(env["CREDENTIALS_DIRECTORY"])
        assert {file.name: file.read_text() for file in folder.iterdir()} == {
            "api_key": "the api_key",
            "token": "the token",
        }
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()
    tool.write_text("#!/bin/sh\nexec sleep 600\n")  # a TPM that does not answer
    monkeypatch.setattr("edge_node.update.commands.CREDENTIAL_DEADLINE_S", 0.1)
    with credentials(tmp_path, tmp_path) as env:
        assert [file.name for file in Path(env["CREDENTIALS_DIRECTORY"]).iterdir()] == ["api_key"]
    tool.unlink()
    monkeypatch.setenv("PATH", str(tool.parent))
    with credentials(tmp_path, tmp_path / "absent") as env:
        assert [file.name for file in Path(env["CREDENTIALS_DIRECTORY"]).iterdir()] == ["api_key"]
