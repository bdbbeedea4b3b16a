"""Whom a ring goes to."""

from __future__ import annotations

from edge_node.call.hunt import MAX_DECLINED, Hunt, Peers

NEVER = float("inf")
PEERS: Peers = {"anna": {"resident"}, "bob": {"resident"}, "carl": {"guard"}}


def sequential(*targets: str) -> Hunt:
    return Hunt(targets, sequential=True, slot_s=10.0, now=0.0)


def parallel(*targets: str) -> Hunt:
    return Hunt(targets, sequential=False, slot_s=10.0, now=0.0)


def test_everyone() -> None:
    hunt = Hunt([], sequential=True, slot_s=10.0, now=0.0)
    assert hunt.everyone
    assert hunt.slot_ends == NEVER
    assert hunt.includes("stranger", ())
    assert hunt.ringing(PEERS) == ["anna", "bob", "carl"]
    assert hunt.decline("anna", PEERS, 1.0)
    assert not hunt.everyone
    assert hunt.ringing(PEERS) == ["bob", "carl"]
    assert hunt.decline("bob", PEERS, 1.0)
    assert not hunt.decline("carl", PEERS, 1.0)


def test_parallel_by_id_and_role() -> None:
    hunt = parallel("anna", "guard")
    assert not hunt.everyone
    assert hunt.ringing(PEERS) == ["anna", "carl"]
    assert not hunt.includes("bob", {"resident"})
    assert hunt.includes("dora", {"guard"})


def test_one_after_the_other() -> None:
    hunt = sequential("anna", "bob", "guard")
    assert hunt.ringing(PEERS) == ["anna"]
    assert hunt.slot_ends == 10.0
    assert hunt.advance(PEERS, 10.0) == ["anna"]
    assert hunt.ringing(PEERS) == ["bob"]
    assert hunt.slot_ends == 20.0
    assert hunt.decline("bob", PEERS, 12.0)
    assert hunt.stage == 2
    assert hunt.ringing(PEERS) == ["carl"]
    assert hunt.slot_ends == NEVER
    assert not hunt.decline("carl", PEERS, 13.0)


def test_absent_people_are_skipped_while_somebody_is_there() -> None:
    hunt = sequential("zoe", "yan", "bob")
    hunt.skip_empty(PEERS, 0.0)
    assert hunt.ringing(PEERS) == ["bob"]
    assert hunt.ringing({"zoe": (), **PEERS}) == ["zoe", "bob"]


def test_nobody_is_there() -> None:
    hunt = sequential("zoe", "yan")
    hunt.skip_empty({}, 0.0)
    assert hunt.stage == 0
    assert hunt.advance({}, 10.0) == []
    assert hunt.stage == 1
    assert hunt.ringing({"zoe": ()}) == ["zoe"]


def test_a_decline_before_ones_turn() -> None:
    hunt = sequential("anna", "bob", "guard")
    assert hunt.decline("bob", PEERS, 1.0)
    assert hunt.ringing(PEERS) == ["anna"]
    hunt.advance(PEERS, 10.0)
    assert hunt.ringing(PEERS) == ["carl"]


def test_declines_are_bounded() -> None:
    hunt = parallel("*")
    for i in range(MAX_DECLINED + 1):
        assert hunt.decline(f"p{i}", PEERS, 0.0)
    assert hunt.ringing({f"p{MAX_DECLINED}": ()}) == [f"p{MAX_DECLINED}"]
