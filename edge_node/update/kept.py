"""The settings that the version in each slot ran with last, kept for the way back."""

from __future__ import annotations

import os
from pathlib import Path

from edge_node.durable import put
from edge_node.errors import EdgeNodeError

COPY = "settings.toml"
"""In the slot."""
ASIDE = "set-aside"
MAX_ASIDE = 9
CHECK_DEADLINE_S = 40.0
"""The guard waits for it within TimeoutStartSec=90 of the unit."""


class KeptSettings:
    """One settings file, and a copy in each slot from before the other slot's version ran.

    On every way back (an update taken back by the guard or the updater, one that was interrupted, a rollback, a slot
    that cannot run) the version that returns decides: settings that it understands stay, so what an operator changed
    meanwhile stays, also during the trial. Settings that it refuses would stop the node for good (exit 78): it gets
    its own copy back, and the refused ones are kept beside the file, as `edge-node.toml.set-aside`, an operator's
    changes among them. Identity, keys and recordings are in /var/lib/edge-node, which no update touches.
    """

    def __init__(self, file: Path | None) -> None:
        """`file`: None where there are no settings to look after."""
        self.file = file

    def keep(self, slot: Path) -> None:
        """The present settings belong to the version in this slot. Raises OSError."""
        if self.file is not None and self.file.exists():
            _copy(self.file.read_bytes(), self.file, slot / COPY)

    def give_back(self, to: Path, trial_of: Path | None = None) -> str | None:
        """Before the version in the slot `to` runs, after the trial of another if one ends; says what was done.

        May be cut off anywhere and done again. Raises OSError.
        """
        kept = _read(to / COPY)
        present = None if self.file is None else _read(self.file)
        if self.file is None or kept is None or present is None or kept == present:
            return None
        # What equals the copy of the slot on trial was put there by us when its trial began: nobody's change.
        ours = trial_of is not None and present == _read(trial_of / COPY)
        if not ours and understands(to, self.file):
            return None
        aside = _place(self.file, present)
        _copy(present, self.file, aside)
        _copy(kept, self.file, self.file)
        return f"the settings are those from before, the others are in {aside}"


def understands(slot: Path, settings: Path) -> bool:
    """Whether the version in the slot takes these settings, with the unit's credentials."""
    # Not at the top: the daemon, which only reads what became of updates, is spared these modules.
    from edge_node.update.commands import credentials, run

    command = [str(slot / "venv/bin/python"), "-I", "-B", "-m", "edge_node", "config", "check", str(settings)]
    try:
        with credentials() as env:
            run(command, env, CHECK_DEADLINE_S)
    except (EdgeNodeError, OSError):
        return False
    return True


def _place(file: Path, content: bytes) -> Path:
    """A name beside the file that is free, or has this content already; the last one when all are taken."""
    places = [file.with_name(f"{file.name}.{ASIDE}" + f"-{n}" * (n > 1)) for n in range(1, MAX_ASIDE + 1)]
    return next((path for path in places if _read(path) in (None, content)), places[-1])


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _copy(content: bytes, like: Path, target: Path) -> None:
    """For those who may read `like`: it may hold a key."""
    about = os.stat(like)
    put(target, content, mode=about.st_mode & 0o777, owner=(about.st_uid, about.st_gid))
