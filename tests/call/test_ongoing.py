"""A call's own times, and what is said of it."""

from __future__ import annotations

import pytest

from edge_node.call.effects import Phase
from edge_node.call.hunt import Hunt
from edge_node.call.messages import Reason
from edge_node.call.ongoing import NEVER, Call
from tests.support.call_driver import state


def ringing() -> Call:
    hunt = Hunt(["anna", "ben"], sequential=True, slot_s=5, now=100)
    return Call("c", Phase.RINGING, 0, ends_at=130, hunt=hunt, next_ring=102)


def test_what_is_due_first() -> None:
    call = ringing()
    assert call.deadline == 102
    call.next_ring = NEVER
    assert call.deadline == 105, "the next one's turn"
    assert call.answered("anna", 110, talk_s=60, warn_s=10).deadline == 160


@pytest.mark.parametrize("warn_s", [0, 60, 61])
def test_no_warning_that_nobody_wants_or_that_would_come_at_once(warn_s: float) -> None:
    assert ringing().answered("anna", 110, talk_s=60, warn_s=warn_s).deadline == 170


def test_why_time_ends_it() -> None:
    call = ringing()
    assert call.over(129) is None and call.over(130) is Reason.TIMEOUT
    talk = call.answered("anna", 110, talk_s=60, warn_s=0)
    assert talk.over(169) is None and talk.over(170) is Reason.LIMIT
    talk.grace_ends = 150
    assert talk.over(170) is Reason.PEER_LEFT


def test_what_is_said_of_it() -> None:
    call = ringing()
    assert call.state() == state("c", "ringing")
    talk = call.answered("anna", 110, talk_s=60, warn_s=0)
    assert talk.state() == state("c", "active", by="anna", reason="answered")
    assert talk.ended(Reason.LIMIT) == state("c", "ended", by="anna", reason="limit")
