"""What the indicator light tells."""

from __future__ import annotations

import pytest

from edge_node.call.effects import Phase
from edge_node.call.indicator import Indicator, choose


@pytest.mark.parametrize(
    ("fault", "online", "phase", "peers", "shown"),
    [
        (True, False, Phase.ACTIVE, 3, Indicator.IN_CALL),
        (True, True, Phase.RINGING, 3, Indicator.RINGING),
        (False, False, Phase.RINGING, 0, Indicator.OFFLINE),
        (True, False, Phase.IDLE, 0, Indicator.FAULT),
        (False, False, Phase.IDLE, 0, Indicator.OFFLINE),
        (False, True, Phase.INCOMING, 3, Indicator.RINGING),
        (False, True, Phase.IDLE, 3, Indicator.SOMEBODY_HERE),
        (False, True, Phase.IDLE, 0, Indicator.ONLINE),
    ],
)
def test_the_most_important_first(fault: bool, online: bool, phase: Phase, peers: int, shown: Indicator) -> None:
    assert choose(fault=fault, online=online, phase=phase, peers=peers) is shown
    private = Indicator.RINGING if shown is Indicator.RINGING else Indicator.PRIVATE
    assert choose(fault=fault, online=online, phase=phase, peers=peers, private=True) is private


def test_a_server_that_refuses_is_not_one_that_is_away() -> None:
    assert choose(fault=False, online=False, phase=Phase.IDLE, peers=0, refused=True) is Indicator.REFUSED
    assert choose(fault=False, online=True, phase=Phase.IDLE, peers=0, refused=True) is Indicator.ONLINE
    assert choose(fault=True, online=False, phase=Phase.IDLE, peers=0, refused=True) is Indicator.FAULT
