"""The slots, for people and programs."""

from __future__ import annotations

from typing import Any

from edge_node.update.records import NAMES
from edge_node.update.slots import MAX_STARTS, Slots


def dump(slots: Slots) -> dict[str, Any]:
    """Everything about the slots."""
    pending, left = slots.pending(), slots.left()
    return {
        "busy": slots.is_busy(),
        "current": slots.current(),
        "slots": {
            name: {"usable": slots.usable(name), "version": (slots.about(name) or {}).get("version")} for name in NAMES
        },
        "accepted": slots.accepted() or None,
        "pending": None if pending is None else pending.to_json(),
        "left": None if left is None else left.to_json(),
        "history": slots.history(),
    }


def text(slots: Slots) -> str:
    """The same for a person."""
    found = dump(slots)
    lines = []
    for name, about in found["slots"].items():
        runs = "runs" if name == found["current"] else "waits" if about["usable"] else "empty"
        if about["version"] and not about["usable"]:
            runs = "cannot run"
        lines.append(f"slot {name}: {about['version'] or '-'}, {runs}")
    if (left := slots.left()) is not None and left.to == found["current"]:
        lines.append(f"slot {left.slot} was left: {left.reason}")
    if (pending := found["pending"]) is not None:
        lines.append(f"update to {pending['version']}: proving itself, start {pending['starts']} of {MAX_STARTS}")
    elif found["busy"]:
        lines.append("an update is being installed")
    elif found["busy"] is None:
        lines.append("whether an update is being installed is root's to know: ask with sudo")
    for entry in found["history"][-5:]:
        reason = f": {entry['reason']}" if entry["reason"] else ""
        lines.append(f"{entry['version']} {entry['outcome']}{reason}")
    return "\n".join(lines)
