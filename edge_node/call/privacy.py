"""What becomes of a node's privacy when somebody at the node asks for it."""

from __future__ import annotations

from dataclasses import replace

from edge_node.call.effects import CallView


def asked(view: CallView, how: str) -> CallView | None:
    """The view after `on`, `off`, a switch's `hold` or `release`, or any other word for the opposite.

    None: a switch holds it. One that is released while it held nothing changes nothing: who asked by other means
    keeps it.
    """
    if how == "hold":
        return replace(view, muted=True, held=True)
    if how == "release":
        return replace(view, muted=False, held=False) if view.held else view
    muted = how == "on" or (how != "off" and not view.muted)
    return None if view.held and not muted else replace(view, muted=muted)
