"""Who wants privacy, and what a switch says to that."""

from __future__ import annotations

import pytest

from edge_node.call.effects import CallView
from edge_node.call.privacy import asked

OPEN, MUTED, HELD = CallView(), CallView(muted=True), CallView(muted=True, held=True)


@pytest.mark.parametrize(
    ("before", "how", "after"),
    [
        (OPEN, "on", MUTED),
        (OPEN, "off", OPEN),
        (OPEN, "", MUTED),
        (MUTED, "", OPEN),
        (MUTED, "off", OPEN),
        (MUTED, "hold", HELD),
        (OPEN, "hold", HELD),
        (HELD, "on", HELD),
        (HELD, "off", None),
        (HELD, "", None),
        (HELD, "release", OPEN),
        (MUTED, "release", MUTED),
        (OPEN, "release", OPEN),
    ],
)
def test_what_becomes_of_privacy(before: CallView, how: str, after: CallView | None) -> None:
    assert asked(before, how) == after
