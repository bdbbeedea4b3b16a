"""The roster forgives what is repeated or was never there."""

from __future__ import annotations

from edge_node.protocol.patterns import parse_pattern
from edge_node.protocol.roster import Roster


def test_leaving_twice_or_without_having_come() -> None:
    roster = Roster()
    assert not roster.remove("home", 1, "anna")
    assert roster.add("home", 1, "anna", False) and not roster.add("home", 1, "anna", True)
    assert not roster.remove("home", 2, "anna")
    assert roster.receivers("home") == {1: True} and list(roster.conns("home")) == [1]
    assert roster.remove("home", 1, "anna") and not roster.remove("home", 1, "anna")
    assert len(roster) == 0 and list(roster.conns("home")) == [] and roster.peers("home") == {}


def test_patterns_go_with_their_last_watcher() -> None:
    roster = Roster()
    for conn in (1, 2):
        roster.add_pattern(parse_pattern("t/*"), conn, False)
    roster.remove_pattern("t/*", 1)
    roster.remove_pattern("t/*", 1)
    assert roster.patterns == 1 and roster.receivers("t/a") == {2: False}
    roster.remove_pattern("t/*", 2)
    roster.remove_pattern("t/*", 2)
    assert roster.patterns == 0
