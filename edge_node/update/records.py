"""What is remembered of updates, as values that a damaged file cannot falsify."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

NAMES = ("a", "b")
_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,3}")


@dataclass(frozen=True, slots=True)
class Pending:
    """An update on trial.

    `starts` of the new slot so far; `was_online` before the update, `worked`: the parts that were up then: an outage
    that existed does not count against it; `verdict` is why it is being taken back; `id` tells two updates to the same
    version apart.
    """

    id: str
    old: str
    new: str
    version: str
    floor: str
    was_online: bool
    worked: Sequence[str] = ()
    starts: int = 0
    verdict: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Left:
    """A slot that had proved itself and was left all the same, for `reason`; `last`: there is no more going to and fro,
    because the one it was left for had failed, too."""

    id: str
    slot: str
    to: str
    version: str
    reason: str
    last: bool = False

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    def __str__(self) -> str:
        return f"{self.version} left: {self.reason}"


def read_pending(value: Mapping[str, Any] | None) -> Pending | None:
    """None for what is none. Words of a later version are passed over."""
    known = {name: value[name] for name in Pending.__slots__ if name in value} if value else {}
    try:
        pending = Pending(**known)
    except TypeError:
        return None
    whole = pending.old in NAMES and pending.new in NAMES and _are_versions(pending.version, pending.floor)
    whole = whole and isinstance(pending.starts, int) and isinstance(pending.worked, list | tuple)
    return pending if whole else None


def read_left(value: Mapping[str, Any] | None) -> Left | None:
    """None for what is none."""
    known = {name: value[name] for name in Left.__slots__ if name in value} if value else {}
    try:
        left = Left(**known)
    except TypeError:
        return None
    return left if left.slot in NAMES and left.to in NAMES else None


def read_accepted(value: Mapping[str, Any] | None) -> dict[str, Any]:
    """`slot`, `version`, `floor`; empty for what is none."""
    if value is None or value.get("slot") not in NAMES or not _are_versions(value.get("version"), value.get("floor")):
        return {}
    return dict(value)


def read_about(value: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """`version`, `floor`, `python`, perhaps `proved`; None for what is none."""
    if value is None or not _are_versions(value.get("version"), value.get("floor"), value.get("python")):
        return None
    return dict(value)


def read_history(value: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """What became of updates, oldest first; empty for what is none."""
    entries = value.get("updates") if value else None
    if not isinstance(entries, list):
        return []
    return [
        entry for entry in entries if isinstance(entry, dict) and {"id", "version", "outcome", "reason"} <= {*entry}
    ]


def comparable(version: object) -> tuple[int, ...] | None:
    """Four numbers of a version like 1.2.3; None for what is none."""
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        return None
    numbers = [int(part) for part in version.split(".")]
    return tuple(numbers + [0] * (4 - len(numbers)))


def _are_versions(*values: object) -> bool:
    return all(comparable(value) is not None for value in values)
