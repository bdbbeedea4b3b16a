"""Where the two slots are, which one runs, what became of an update.

    ROOT/current            symbolic link to the slot that runs
    ROOT/slots/a, …/b       venv/ (built in place: a venv cannot be moved), release/ (the bundle's files), settings.toml
                            (a copy from before the next slot's first start), slot.json (written last: it is whole)
    ROOT/state/accepted     the slot that proved itself last, the floor
    ROOT/state/pending      an update whose slot has not proved itself yet
    ROOT/state/history      what became of the last updates

Every step is one rename, so a power cut leaves the state before it or after it.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edge_node.errors import EdgeNodeError
from edge_node.update.files import DYING_S, locked, point, read_json, remove, write_json

NAMES = ("a", "b")
MAX_STARTS = 3
"""A new slot gets so many starts to prove itself."""
MAX_HISTORY = 50


def this_python() -> str:
    """As slots name it: `3.11`."""
    return "{}.{}".format(*sys.version_info[:2])


@dataclass(frozen=True, slots=True)
class Pending:
    """`starts` of the new slot so far; `was_online` before the update: an outage that existed does not count against
    it; `verdict` is why it is being taken back; `id` tells two updates to the same version apart."""

    id: str
    old: str
    new: str
    version: str
    floor: str
    was_online: bool
    starts: int = 0
    verdict: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class Slots:
    """The slots under one root; methods that change something may be interrupted anywhere, also by SIGKILL."""

    def __init__(self, root: Path, python: str) -> None:
        """`python`: the version of the distribution's own, like `3.11`; slots made for another do not run."""
        self.root = root
        self.python = python
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
        """What slot.json says: version, python, preflight. None for a slot that is not whole."""
        return read_json(self.path(name) / "slot.json")

    def usable(self, name: str) -> bool:
        """Whole, for this machine's Python, and its interpreter is there."""
        about = self.about(name)
        return (
            about is not None
            and about.get("python") == self.python
            and (self.path(name) / "venv/bin/python").exists()
        )  # fmt: skip

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
        """`slot`, `version`, `floor` of what proved itself last."""
        return read_json(self._state / "accepted") or {}

    def pending(self) -> Pending | None:
        value = read_json(self._state / "pending")
        try:
            return None if value is None else Pending(**value)
        except TypeError:
            return None

    def history(self) -> list[dict[str, Any]]:
        """What became of updates, oldest first."""
        value = read_json(self._state / "history")
        return list(value["updates"]) if value else []

    def _record(self, pending: Pending, outcome: str, reason: str | None = None) -> None:
        """Once, even when it is cut off right after and done again."""
        entries = self.history()
        if not entries or entries[-1].get("id") != pending.id:
            entry = {"id": pending.id, "version": pending.version, "outcome": outcome, "reason": reason}
            write_json(self._state / "history", {"updates": [*entries, entry][-MAX_HISTORY:]})

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Only one update at a time. Raises EdgeNodeError."""
        self.prepare()
        with locked(self._state / "busy", wait_s=DYING_S) as mine:
            if not mine:
                raise EdgeNodeError("another update is going on: wait until edge-node update status says it is over")
            yield

    @contextmanager
    def _changing(self) -> Iterator[None]:
        self.prepare()
        with locked(self._state / "lock"):
            yield

    # An update's life

    def install(self, name: str, version: str, floor: str) -> None:
        """Runs a whole slot from the next start on; there is none to return to."""
        with self._changing():
            point(self.link, f"slots/{name}")
            write_json(self._state / "accepted", {"slot": name, "version": version, "floor": floor})
            remove(self._state / "pending")

    def begin(self, pending: Pending) -> None:
        """The next start is the new slot's."""
        with self._changing():
            write_json(self._state / "pending", pending.to_json())
            point(self.link, f"slots/{pending.new}")

    def accept(self) -> None:
        """The new slot has proved itself."""
        with self._changing():
            pending = self.pending()
            if pending is not None and pending.verdict is None:
                self._accept(pending)

    def _accept(self, pending: Pending) -> None:
        accepted = {"slot": pending.new, "version": pending.version, "floor": pending.floor}
        write_json(self._state / "accepted", accepted)
        self._record(pending, "accepted")
        remove(self._state / "pending")

    def take_back(self, reason: str) -> None:
        """Returns to the slot before."""
        with self._changing():
            pending = self.pending()
            if pending is not None:
                self._take_back(pending, reason)

    def _take_back(self, pending: Pending, reason: str) -> None:
        if pending.verdict is None:
            pending = replace(pending, verdict=reason)
            write_json(self._state / "pending", pending.to_json())
        point(self.link, f"slots/{pending.old}")
        self._record(pending, "taken back", pending.verdict)
        remove(self._state / "pending")

    # Before every start

    def guard(self) -> str | None:
        """Chooses the slot of this start. Returns what it did, None when all was well.

        Raises EdgeNodeError when no slot can run.
        """
        with self._changing():
            done = self._guard_pending()
            current = self.current()
            if current is not None and self.usable(current):
                return done
            candidates = [self.accepted().get("slot"), *NAMES]
            name = next((n for n in candidates if n in NAMES and self.usable(n)), None)
            if name is None:
                raise EdgeNodeError(self._nothing_runs())
            point(self.link, f"slots/{name}")
            return f"slot {current} cannot run, so slot {name} does" if current else f"slot {name} runs"

    def _guard_pending(self) -> str | None:
        pending = self.pending()
        if pending is None:
            return None
        if pending.verdict is not None:
            self._take_back(pending, pending.verdict)
            return f"the update to {pending.version} was taken back: {pending.verdict}"
        if self.accepted().get("slot") == pending.new and self.accepted().get("version") == pending.version:
            self._accept(pending)
            return None
        if self.current() != pending.new:
            remove(self._state / "pending")
            self._record(pending, "interrupted")
            return f"the update to {pending.version} had been interrupted"
        if pending.starts >= MAX_STARTS:
            reason = f"it did not prove itself in {MAX_STARTS} starts"
            self._take_back(pending, reason)
            return f"the update to {pending.version} was taken back: {reason}"
        write_json(self._state / "pending", replace(pending, starts=pending.starts + 1).to_json())
        return None

    def _nothing_runs(self) -> str:
        made_for = {str(about.get("python")) for name in NAMES if (about := self.about(name)) is not None}
        if made_for and self.python not in made_for:
            return (
                f"edge-node was installed for Python {', '.join(sorted(made_for))}, this system now has {self.python}: "
                "install the bundle for it with edge-node update apply"
            )
        return "no slot of edge-node can run: install a bundle with edge-node update apply"


def dump(slots: Slots) -> dict[str, Any]:
    """Everything about the slots, for people and programs."""
    pending = slots.pending()
    return {
        "current": slots.current(),
        "slots": {
            name: {"usable": slots.usable(name), "version": (slots.about(name) or {}).get("version")} for name in NAMES
        },
        "accepted": slots.accepted() or None,
        "pending": None if pending is None else pending.to_json(),
        "history": slots.history(),
    }


def text(slots: Slots) -> str:
    """The same for a person."""
    found = dump(slots)
    lines = []
    for name, about in found["slots"].items():
        runs = "runs" if name == found["current"] else "waits" if about["usable"] else "empty"
        lines.append(f"slot {name}: {about['version'] or '-'}, {runs}")
    if (pending := found["pending"]) is not None:
        lines.append(f"update to {pending['version']}: proving itself, start {pending['starts']} of {MAX_STARTS}")
    for entry in found["history"][-5:]:
        reason = f": {entry['reason']}" if entry["reason"] else ""
        lines.append(f"{entry['version']} {entry['outcome']}{reason}")
    return "\n".join(lines)
