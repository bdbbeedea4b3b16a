"""A machine with slots, a publisher, a tiny application in place of the real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_node.update.bundle import Manifest, hashes, pack
from edge_node.update.health import STABLE_S
from edge_node.update.slots import Slots, this_python
from edge_node.update.updater import Updater

APPLICATION = """
import json, sys
def main():
    words = sys.argv[1:]
    if words[:2] == ["config", "check"]:
        text = open(words[2]).read()
        sys.exit(0 if text.strip() in {understands!r} else "edge-node: these settings are from the future")
    if words == ["status"]:
        {status}
        print(json.dumps({{"node": {{"version": {version!r}}}, "call": {{"state": "idle"}}}}))
if __name__ == "__main__":
    main()
"""
ENTRY = "[console_scripts]\nedge-node = edge_node.__main__:main\n"


def new_key(private: Path, public: Path) -> None:
    """A publisher's pair of keys."""
    for words in (("genpkey", "-algorithm", "ed25519"), ("pkey", "-in", str(private), "-pubout")):
        out = public if words[0] == "pkey" else private
        subprocess.run(["openssl", *words, "-out", str(out)], check=True, capture_output=True)


class Publisher:
    """Makes signed bundles of an application that says its version."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trust = folder / "trust"
        self.trust.mkdir(parents=True, exist_ok=True)
        self.key = folder / "key.pem"
        new_key(self.key, self.trust / "publisher.pem")
        self.keys = [self.trust / "publisher.pem"]

    def bundle(
        self,
        version: str,
        *,
        status: str = "pass",
        understands: Sequence[str] = ("1", "2"),
        preflight: Sequence[Sequence[str]] = (("-m", "edge_node", "config", "check", "{settings}"),),
        key: Path | None = None,
        **manifest: Any,
    ) -> Path:
        """`status`: a statement that the application runs when it is asked for its status, `sys.exit(1)` for a broken
        one; `understands`: which settings files it takes; the rest replaces fields of the manifest."""
        release = self.folder / f"release-{version}"
        (release / "wheels").mkdir(parents=True, exist_ok=True)
        source = APPLICATION.format(version=version, status=status, understands=list(understands))
        _wheel(release / "wheels" / f"edge_node-{version}-py3-none-any.whl", version, source)
        made = Manifest(version, "any", this_python(), "0", hashes(release), preflight)
        out = self.folder / f"edge-node-{version}.tar"
        pack(out, replace(made, **manifest), release, key or self.key)
        return out


def quick_venv(venv: Path, release: Path) -> Path:
    """In place of build.make_venv, which takes seconds: what the unit starts, without pip."""
    home = Path(sys.executable).resolve()
    code = venv / f"lib/python{this_python()}/site-packages"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin/python").symlink_to(home)
    (venv / "pyvenv.cfg").write_text(f"home = {home.parent}\ninclude-system-site-packages = false\n")
    (venv / "bin/edge-node").write_text(
        f"#!{venv}/bin/python -IB\nimport sys\nfrom edge_node.__main__ import main\nsys.exit(main())\n"
    )
    (venv / "bin/edge-node").chmod(0o755)
    for wheel in (release / "wheels").glob("*.whl"):
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(code)
    return venv / "bin/python"


def _wheel(path: Path, version: str, source: str) -> None:
    info = f"edge_node-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in (
            ("edge_node/__init__.py", ""),
            ("edge_node/__main__.py", source),
            (f"{info}/entry_points.txt", ENTRY),
            (f"{info}/METADATA", f"Metadata-Version: 2.1\nName: edge-node\nVersion: {version}\n"),
            (f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            (f"{info}/RECORD", ""),
        ):
            wheel.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), text)


class LabWorld:
    """A service manager that starts what `current` names; its time passes by sleeping only.

    The application of the slot is really run; `online` is what it says about its channel.
    """

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._time = 0.0
        self._started_at = 0.0
        self._restarted = False
        self.online = True
        self.pace = 1.0
        self.calls = 0
        """Looks at the status for which a call is on."""
        self.starts: list[str | None] = []
        self._broken: tuple[str | None, int] | None = None
        """A start whose application did not work is not asked again."""
        self.parts: Callable[[str | None, float], dict[str, Any]] = lambda slot, uptime_s: {}
        """What the status says of the parts of a slot's application that has run for so long."""
        self.crashes = 0
        """So many starts after the next restart() end again at once, each begun by the guard."""

    def status(self) -> dict[str, Any] | None:
        # Without a start by us the daemon has been running for long, as a reboot would leave it.
        asked = (self._slots.current(), len(self.starts))
        status = None if asked == self._broken else running(self._slots)
        if status is None:
            self._broken = asked
            return None
        if self.crashes:
            self.crashes -= 1
            self._start()
        status["uptime_s"] = self._time - self._started_at if self._restarted else STABLE_S
        status["parts"] = self.parts(self._slots.current(), status["uptime_s"])
        status["channel"] = {"state": "joined" if self.online else "connecting"}
        if self.calls:
            self.calls -= 1
            status["call"] = {"state": "active"}
        return status

    def restart(self) -> None:
        self._restarted = True
        self._start()

    def _start(self) -> None:
        self._slots.guard()
        self._started_at = self._time
        self.starts.append(self._slots.current())

    def now(self) -> float:
        return self._time

    def sleep(self, seconds: float) -> None:
        self._time += seconds * self.pace


def running(slots: Slots) -> dict[str, Any] | None:
    """What the application of the current slot says; None when it does not work."""
    try:
        done = subprocess.run(
            [slots.link / "venv/bin/edge-node", "status"], capture_output=True, timeout=60, check=False
        )
    except OSError:
        return None
    return None if done.returncode else dict(json.loads(done.stdout))


class Machine:
    """Slots under a folder, a settings file, an updater."""

    def __init__(self, folder: Path) -> None:
        self.settings = folder / "edge-node.toml"
        self.slots = Slots(folder / "opt", this_python(), self.settings)
        self.slots.prepare()
        self.world = LabWorld(self.slots)
        self.said: list[str] = []
        self.updater = Updater(self.slots, self.world, self.said.append)

    @property
    def version(self) -> str | None:
        """Which version runs."""
        status = running(self.slots)
        return None if status is None else str(status["node"]["version"])


def _die_at(step: int) -> None:
    """SIGKILL to this process just before its step-th change of the disk, or wait for the disk."""
    left = step

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            nonlocal left
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **more)

        return call

    for name in ("fsync", "replace", "symlink", "unlink"):
        setattr(os, name, counted(getattr(os, name)))


def main() -> None:
    """`python -m tests.support.update_lab FOLDER STEP apply TRUST BUNDLE`, or `… guard EARLY_FAILURES`,
    `… settle online|offline`, `… rollback`: killed at that step; STEP 0: by others."""
    os.sync = lambda: None  # a kill, unlike a power cut, loses nothing that was written
    machine = Machine(Path(sys.argv[1]))
    if step := int(sys.argv[2]):
        _die_at(step)
    match sys.argv[3:]:
        case ["apply", trust, bundle]:
            machine.updater.apply(Path(bundle), sorted(Path(trust).glob("*.pem")), downgrade=True)
        case ["guard", early_failures]:
            machine.slots.guard(int(early_failures))
        case ["settle", channel]:
            machine.world.online = channel == "online"
            machine.world.pace = 30.0
            machine.updater.settle()
        case ["rollback"]:
            machine.updater.rollback()


if __name__ == "__main__":
    main()
