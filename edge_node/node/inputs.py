"""What the contacts of the panel tell, brought to who wants to know."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

STATES = {"on": True, "off": False}


class Inputs:
    """Takes every report of the panel, on the event loop; leaves presses alone.

    `kinds` are the inputs by name; `event("input", {"name", "kind", "state"})` is for rules, `act[kind](name, on)` for
    the node itself.
    """

    def __init__(
        self,
        kinds: Mapping[str, str],
        event: Callable[[str, Mapping[str, Any]], None],
        act: Mapping[str, Callable[[str, bool], None]],
    ) -> None:
        self._kinds = dict(kinds)
        self._event = event
        self._act = dict(act)

    def report(self, text: str) -> None:
        """`NAME:on` or `NAME:off`, as ports.Panel reports it."""
        name, _, state = text.rpartition(":")
        kind = self._kinds.get(name)
        if kind is None or state not in STATES:
            return
        self._event("input", {"name": name, "kind": kind, "state": state})
        if kind in self._act:
            self._act[kind](name, STATES[state])
