"""Who is rung, who may open."""

from __future__ import annotations

from typing import Any

import pytest

from edge_node.call.bucket import Rate
from edge_node.call.messages import DoorOpen
from edge_node.call.policy import DoorKeeper, DoorPolicy, is_anonymous, is_target, roles_of

UUID = "3f2b8c1e-9d47-4a55-8b0e-1c2d3e4f5a6b"
POLICY = DoorPolicy(doors=["door"], allow=["resident-*", "admin"])


def ask(keeper: DoorKeeper, peer_id: str = "resident-anna", now: float = 0.0, **change: Any) -> str:
    fields: dict[str, Any] = {"door": "door", "nonce": f"n{now}", "at": 0.0}
    request = DoorOpen(**(fields | change))
    verdict = keeper.judge(request, peer_id, now)
    assert verdict.ok == (verdict.reason == "allowed")
    return verdict.reason


def test_allowed() -> None:
    assert ask(DoorKeeper(POLICY)) == "allowed"
    assert ask(DoorKeeper(POLICY), "admin") == "allowed"


@pytest.mark.parametrize("peer_id", ["visitor", "Resident-anna", "resident", UUID])
def test_not_on_the_list(peer_id: str) -> None:
    assert ask(DoorKeeper(POLICY), peer_id) == "not allowed"


def test_nobody_by_default() -> None:
    assert ask(DoorKeeper(DoorPolicy(doors=["door"]))) == "not allowed"


@pytest.mark.parametrize("peer_id", [UUID, UUID.upper(), UUID.replace("-", ""), f" {UUID}"])
def test_an_anonymous_id_never_matches(peer_id: str) -> None:
    assert is_anonymous(peer_id)
    keeper = DoorKeeper(DoorPolicy(doors=["door"], allow=["*", peer_id]))
    assert ask(keeper, peer_id) == "not allowed"


def test_a_name_is_not_anonymous() -> None:
    assert not is_anonymous(f"resident-{UUID}")


def test_a_door_that_is_not_there() -> None:
    assert ask(DoorKeeper(POLICY), door="garage") == "unknown door"


def test_a_nonce_opens_once() -> None:
    keeper = DoorKeeper(POLICY)
    assert ask(keeper, nonce="n") == "allowed"
    assert ask(keeper, nonce="n", now=10.0) == "nonce already used"
    assert ask(keeper, "resident-bob", nonce="n") == "allowed"


def test_the_rate_of_one_person() -> None:
    keeper = DoorKeeper(DoorPolicy(doors=["door"], allow=["*"], rate=Rate(per_s=0.1, burst=2)))
    assert [ask(keeper, nonce=f"{i}") for i in range(3)] == [
        "allowed",
        "allowed",
        "too many requests: wait a few seconds",
    ]
    assert ask(keeper, "bob") == "allowed"
    assert ask(keeper, now=10.0) == "allowed"


def test_lockout_after_refusals() -> None:
    keeper = DoorKeeper(POLICY)
    assert [ask(keeper, door="x", now=float(i)) for i in range(5)] == ["unknown door"] * 5
    assert ask(keeper, now=5.0) == "too many refused requests: wait 59 s"
    assert ask(keeper, "admin", now=5.0) == "allowed"
    assert ask(keeper, now=64.0) == "allowed"


def test_slow_mistakes_do_not_lock_out() -> None:
    keeper = DoorKeeper(POLICY)
    assert {ask(keeper, door="x", now=i * 20.0) for i in range(9)} == {"unknown door"}


def test_tables_are_bounded() -> None:
    keeper = DoorKeeper(DoorPolicy(doors=["door"], allow=["*"], peers=2, nonces_per_peer=1, rate=Rate(9, 9)))
    for name in ("a", "b", "c"):
        assert ask(keeper, name, nonce="n") == "allowed"
    assert ask(keeper, "c", nonce="n") == "nonce already used"
    assert ask(keeper, "a", nonce="n") == "allowed"
    assert ask(keeper, "a", nonce="m") == "allowed"
    assert ask(keeper, "a", nonce="n") == "allowed"


def test_strangers_cannot_push_out_what_is_known() -> None:
    keeper = DoorKeeper(DoorPolicy(doors=["door"], allow=["resident-*"], peers=2))
    assert ask(keeper, nonce="n") == "allowed"
    for i in range(10):
        assert ask(keeper, f"stranger-{i}") == "not allowed"
    assert ask(keeper, nonce="n") == "nonce already used"


@pytest.mark.parametrize(
    ("metadata", "roles"),
    [
        (None, set()),
        ({}, set()),
        ({"role": "resident"}, {"resident"}),
        ({"roles": ["resident", 5, "x" * 65], "role": "ignored"}, {"resident"}),
        ({"role": {"a": 1}}, set()),
        ({"roles": [f"r{i}" for i in range(20)]}, {f"r{i}" for i in range(8)}),
    ],
)
def test_roles(metadata: dict[str, Any] | None, roles: set[str]) -> None:
    assert roles_of(metadata) == roles


def test_targets() -> None:
    assert is_target("anna", "anna", [])
    assert is_target("resident", UUID, ["resident"])
    assert is_target("resident-*", "resident-anna", [])
    assert is_target("a[b", "a[b", [])
    assert not is_target("anna", "bob", ["resident"])
