"""The profile of the board that this is."""

from __future__ import annotations

import logging
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edge_node.errors import SettingsError

log = logging.getLogger(__name__)

_PACKAGE = Path(__file__).resolve().parent.parent
# Installed by the distribution, inside the wheel, in a checkout (editable installs lack the second).
FOLDERS = (
    Path("/usr/share/edge-node/hardware/boards"),
    _PACKAGE / "hardware_data" / "boards",
    _PACKAGE.parent / "hardware" / "boards",
)
GENERIC = "generic"

Profile = Mapping[str, Any]


def load_profile(wanted: str, model: str | None, folders: Sequence[Path] = FOLDERS) -> Profile:
    """The profile with this id, or for `auto` the one whose `board.model` begins the device tree's model.

    Raises SettingsError for an id that no profile has, or a profile that cannot be read.
    """
    profiles = read_profiles(folders, "board")
    if wanted != "auto":
        if wanted not in profiles:
            raise SettingsError(f'gpio.board = "{wanted}" is no known board: use auto or {", ".join(sorted(profiles))}')
        return profiles[wanted]
    for profile in profiles.values():
        if model is not None and any(model.startswith(start) for start in profile["board"].get("model", ())):
            return profile
    return profiles.get(GENERIC, {"board": {"id": GENERIC, "name": "Generic Linux"}})


def read_profiles(folders: Sequence[Path], kind: str) -> dict[str, Profile]:
    """Every profile of this kind (`board`, `card`) by id; those of earlier folders win. Raises SettingsError."""
    found: dict[str, Profile] = {}
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            try:
                profile = tomllib.loads(path.read_text())
                found.setdefault(profile[kind]["id"], profile)
            except (OSError, ValueError, KeyError, TypeError) as err:
                reason = f"the {kind} profile {path.name} cannot be read ({err}): mend or remove it"
                raise SettingsError(reason) from err
    return found
