"""Where the two slots are, which one runs, what became of an update.

    ROOT/current            symbolic link to the slot that runs
    ROOT/slots/a, …/b       venv/ (built in place: a venv cannot be moved), release/ (the bundle's files), settings.toml
                            (a copy from before the next slot's first start), slot.json (written last: it is whole)
    ROOT/state/accepted     the slot that proved itself last, the floor
    ROOT/state/pending      an update whose slot has not proved itself yet
    ROOT/state/left         a slot that was left because it failed although it had proved itself
    ROOT/state/history      what became of the last updates

Every step is one rename, so a power cut leaves the state before it or after it.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from edge_node.durable import read_json
from edge_node.errors import EdgeNodeError
from edge_node.update import records
from edge_node.update.files import DYING_S, held, locked, point, remove, write_json
from edge_node.update.kept import KeptSettings
from edge_node.update.records import NAMES, Left, Pending, comparable

MAX_STARTS = 3
"""A new slot gets so many starts to prove itself."""
MAX_EARLY_FAILURES = 3
"""After so many in a row a slot that had proved itself is left for the other: before the safe mode of faults.py."""
MAX_HISTORY = 50


def this_python() -> str:
    """As slots name it: `3.11`."""
    return "{}.{}".format(*sys.version_info[:2])


class Slots:
    """The slots under one root; methods that change something may be interrupted anywhere, also by SIGKILL."""

    def __init__(self, root: Path, python: str, settings: Path | None = None) -> None:
        """`python`: the version of the distribution's own, like `3.11`; slots made for another do not run."""
        self.root = root
        self.python = python
        self.settings = KeptSettings(settings)
        self._state = root / "state"
        self.link = root / "current"

    def prepare(self) -> None:
        """Makes the folders."""
        for folder in (self._state, *(self.path(name) for name in NAMES)):
            folder.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        return self.root / "slots" / name

    def current(self) -> str | None:
        """The slot that the link names, whole or not."""
        try:
            name = self.link.readlink().name
        except OSError:
            return None
        return name if name in NAMES else None

    def about(self, name: str) -> dict[str, Any] | None:
        """What slot.json says: version, python, floor, `proved`. None for a slot that is not whole."""
        return records.read_about(read_json(self.path(name) / "slot.json"))

    def usable(self, name: str) -> bool:
        """Whole, for this machine's Python, and what the unit starts is there: program, interpreter, application."""
        about, venv = self.about(name), self.path(name) / "venv"
        if about is None or about.get("python") != self.python:
            return False
        programs = (venv / "bin/python", venv / "bin/edge-node")
        code = venv / f"lib/python{self.python}/site-packages/edge_node/__main__.py"
        return all(os.access(path, os.X_OK) and _has_content(path) for path in programs) and _has_content(code)

    def idle(self) -> str:
        """The slot that does not run."""
        return "b" if self.current() == "a" else "a"

    def empty(self, name: str) -> Path:
        """Clears a slot; it stops being whole before anything else goes."""
        path = self.path(name)
        remove(path / "slot.json")
        shutil.rmtree(path)
        path.mkdir()
        return path

    def seal(self, name: str, about: dict[str, Any]) -> None:
        """From now on the slot is whole."""
        write_json(self.path(name) / "slot.json", about)

    def accepted(self) -> dict[str, Any]:
        """`slot`, `version`, `floor` of what proved itself last, `id` of its update; empty when it is not known."""
        return records.read_accepted(read_json(self._state / "accepted"))

    def floor(self) -> str:
        """The lowest version that is still safe: as accepted, and as said by the slots that proved themselves."""
        abouts = [about for name in NAMES if (about := self.about(name)) is not None and about.get("proved")]
        floors = [self.accepted().get("floor", "0"), *(about["floor"] for about in abouts)]
        return str(max(floors, key=_key))

    def pending(self) -> Pending | None:
        return records.read_pending(read_json(self._state / "pending"))

    def left(self) -> Left | None:
        """The slot that failed although it had proved itself, until the next update."""
        return records.read_left(read_json(self._state / "left"))

    def history(self) -> list[dict[str, Any]]:
        """What became of updates, oldest first."""
        return records.read_history(read_json(self._state / "history"))

    def _record(self, id: str, version: str, outcome: str, reason: str | None = None) -> None:
        """Once, even when it is cut off right after and done again."""
        entries = self.history()
        if not entries or entries[-1]["id"] != id:
            entry = {"id": id, "version": version, "outcome": outcome, "reason": reason}
            write_json(self._state / "history", {"updates": [*entries, entry][-MAX_HISTORY:]})

    @contextmanager
    def busy(self, *, wait: bool = False) -> Iterator[None]:
        """Only one update at a time. Raises EdgeNodeError where it does not `wait` until another is over."""
        self.prepare()
        with locked(self._state / "busy", wait_s=None if wait else DYING_S) as mine:
            if not mine:
                raise EdgeNodeError("another update is going on: wait until edge-node update status says it is over")
            yield

    def is_busy(self) -> bool | None:
        """Whether somebody installs an update, or looks after its trial; None: only root may know."""
        return held(self._state / "busy")

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self.prepare()
        with locked(self._state / "lock"):
            yield

    # An update's life; what is said is for people: None, there is nothing to say.

    def install(self, name: str, version: str, floor: str) -> None:
        """Runs a whole slot from the next start on; there is none to return to."""
        with self._changing():
            self._mark(name, proved=True)
            write_json(self._state / "accepted", {"slot": name, "version": version, "floor": floor})
            for old in ("pending", "left"):
                remove(self._state / old)
            point(self.link, f"slots/{name}")

    def begin(self, pending: Pending) -> str | None:
        """The next start is the new slot's, with the settings that its version understands."""
        with self._changing():
            self.settings.keep(self.path(pending.old))
            write_json(self._state / "pending", pending.to_json())
            remove(self._state / "left")
            return self._switch(pending.new)

    def accept(self) -> None:
        """The new slot has proved itself."""
        with self._changing():
            pending = self.pending()
            if pending is not None and pending.verdict is None:
                self._accept(pending)

    def _accept(self, pending: Pending) -> None:
        accepted = {"slot": pending.new, "version": pending.version, "floor": pending.floor, "id": pending.id}
        write_json(self._state / "accepted", accepted)
        self._mark(pending.new, proved=True)
        self._record(pending.id, pending.version, "accepted")
        remove(self._state / "pending")

    def take_back(self, reason: str) -> str | None:
        """Returns to the slot before."""
        with self._changing():
            pending = self.pending()
            return None if pending is None else self._take_back(pending, reason)

    def withdraw(self) -> str | None:
        """Returns to the slot before, which has gone on meanwhile: the new one was not started."""
        with self._changing():
            pending = self.pending()
            if pending is None:
                return None
            said = self._switch(pending.old, trial_of=pending.new)
            self._record(pending.id, pending.version, "interrupted")
            remove(self._state / "pending")
            return said

    def _take_back(self, pending: Pending, reason: str) -> str | None:
        if pending.verdict is None:
            pending = replace(pending, verdict=reason)
            write_json(self._state / "pending", pending.to_json())
        self._mark(pending.new, proved=False)
        said = self._switch(pending.old, trial_of=pending.new)
        self._record(pending.id, pending.version, "taken back", pending.verdict)
        remove(self._state / "pending")
        return said

    def _mark(self, name: str, *, proved: bool) -> None:
        """In the slot itself, so that the floor outlives a damaged state/accepted."""
        about = self.about(name)
        if about is not None and bool(about.get("proved")) is not proved:
            self.seal(name, {**about, "proved": proved})

    def _switch(self, to: str, trial_of: str | None = None) -> str | None:
        said = self.settings.give_back(self.path(to), None if trial_of is None else self.path(trial_of))
        point(self.link, f"slots/{to}")
        return said

    # Before every start

    def guard(self, early_failures: int = 0) -> str | None:
        """Chooses the slot of this start. Returns what it did, None when all was well.

        `early_failures` in a row of the slot that runs. Raises EdgeNodeError when no slot can run.
        """
        with self._changing():
            said = (*self._guard_pending(), *self._choose(early_failures), self._guard_accepted())
            return "; ".join(word for word in said if word) or None

    def _guard_pending(self) -> tuple[str | None, ...]:
        pending = self.pending()
        if pending is None:
            return ()
        if pending.verdict is None and self.accepted().get("id") == pending.id:
            self._accept(pending)
            return ()
        if pending.verdict is None and self.current() != pending.new:
            said = self.settings.give_back(self.path(pending.old), self.path(pending.new))
            self._record(pending.id, pending.version, "interrupted")
            remove(self._state / "pending")
            return f"the update to {pending.version} had been interrupted", said
        reason = pending.verdict
        if reason is None and not self.usable(pending.new):
            reason = "it cannot run"
        if reason is None and pending.starts >= MAX_STARTS:
            reason = f"it did not prove itself in {MAX_STARTS} starts"
        if reason is not None:
            said = self._take_back(pending, reason)
            return f"the update to {pending.version} was taken back: {reason}", said
        write_json(self._state / "pending", replace(pending, starts=pending.starts + 1).to_json())
        return ()

    def _choose(self, early_failures: int) -> tuple[str | None, ...]:
        current = self.current()
        if current is None or not self.usable(current):
            name = next((n for n in (self.accepted().get("slot"), *NAMES) if n in NAMES and self.usable(n)), None)
            if name is None:
                raise EdgeNodeError(self._nothing_runs())
            if current is None:
                return f"slot {name} runs", self._switch(name)
            left = self._left(current, name, f"its slot cannot run, so {self._version(name)} does")
            return f"slot {current} cannot run, so slot {name} does", self._leave(left)
        if self.pending() is None and early_failures >= MAX_EARLY_FAILURES:
            return self._fail_over(current, f"it failed {early_failures} times in a row right after its start")
        return ()

    def _fail_over(self, current: str, reason: str) -> tuple[str | None, ...]:
        """To the other slot, if its version has proved itself and is safe; back once, if that fails as well."""
        other = self.idle()
        about = self.about(other)
        if about is None or not about.get("proved") or not self.usable(other):
            return ()
        if _key(about["version"]) < _key(self.floor()):
            return ()
        left = self.left()
        if left is not None and left.to == current and left.last:
            return ()
        if left is None:
            left = self._left(current, other, f"{reason}, so {about['version']} runs")
        elif left.to == current:
            left = self._left(current, other, f"{reason}, as {about['version']} did, which runs again")
        return f"slot {current} is left for slot {other}: {reason}", self._leave(left)

    def _left(self, slot: str, to: str, reason: str) -> Left:
        return Left(uuid.uuid4().hex, slot, to, self._version(slot), reason, last=self.left() is not None)

    def _leave(self, left: Left) -> str | None:
        write_json(self._state / "left", left.to_json())
        self._record(left.id, left.version, "left", left.reason)
        return self._switch(left.to)

    def _version(self, name: str) -> str:
        return str((self.about(name) or {}).get("version", "?"))

    def _guard_accepted(self) -> str | None:
        """What proved itself last is known again after its file was lost."""
        current = self.current()
        if current is None or self.accepted() or self.pending() is not None:
            return None
        version, floor = self._version(current), self.floor()
        write_json(self._state / "accepted", {"slot": current, "version": version, "floor": floor})
        return f"state/accepted was damaged or lost: the slots say version {version}, none below {floor}"

    def _nothing_runs(self) -> str:
        made_for = {str(about.get("python")) for name in NAMES if (about := self.about(name)) is not None}
        if made_for and self.python not in made_for:
            return (
                f"edge-node was installed for Python {', '.join(sorted(made_for))}, this system now has {self.python}: "
                "install the bundle for it with sudo edge-node-slots apply"
            )
        return "no slot of edge-node can run: install a bundle with sudo edge-node-slots apply"


def _key(version: str) -> tuple[int, ...]:
    key = comparable(version)
    assert key is not None, "looked at when it was read"
    return key


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
