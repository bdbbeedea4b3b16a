"""Door requests that must be signed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_node.call.messages import DoorOpen
from edge_node.call.policy import DoorKeeper, DoorPolicy
from edge_node.call.signed import NONCES_PER_KEY, DoorKey, Signatures, Signing

SIGNING = Signing("front", "c0ffee", (DoorKey("phone", "aa", ["anna*"]), DoorKey("tablet", "bb")))
REQUEST = DoorOpen("gate", "n1", 1000.75, key="aa", signature="sig:aa")


def verify(public: str, message: bytes, signature: str) -> bool:
    return message.startswith(b"edge-node/door.open/1\n") and signature == f"sig:{public}"


def judge(request: DoorOpen, peer_id: str = "anna") -> str | None:
    return Signatures(SIGNING, verify).problem(request, peer_id)


def test_what_is_signed() -> None:
    expected = b"edge-node/door.open/1\nfront\nc0ffee\ngate\nn1\n1000\nanna"
    assert SIGNING.message(REQUEST, "anna") == expected
    assert SIGNING.message(replace(REQUEST, at=-0.5), "anna").split(b"\n")[5] == b"-1"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"key": "bb", "signature": "sig:bb"}, None),
        ({"key": None}, "signature required"),
        ({"signature": None}, "signature required"),
        ({"key": "cc"}, "unknown key"),
        ({"signature": "sig:bb"}, "wrong signature"),
    ],
)
def test_a_request_needs_a_signature_of_a_known_key(change: dict[str, str | None], reason: str | None) -> None:
    assert judge(replace(REQUEST, **change)) == reason  # type: ignore[arg-type]


def test_a_key_belongs_to_somebody() -> None:
    assert judge(REQUEST, "bert") == "key of somebody else"
    assert judge(REQUEST, "anna-2") is None


def test_without_a_way_to_verify_no_signature_is_good() -> None:
    assert Signatures(SIGNING).problem(REQUEST, "anna") == "wrong signature"


def test_a_request_is_good_once_whoever_repeats_it() -> None:
    signatures = Signatures(SIGNING, lambda *_: True)
    assert signatures.problem(REQUEST, "anna") is None
    assert signatures.problem(REQUEST, "anna-2") == "request already used"
    assert signatures.problem(replace(REQUEST, nonce="n2"), "anna") is None


def test_what_is_forgotten_is_refused_by_its_age() -> None:
    signatures = Signatures(SIGNING, verify)
    for index in range(NONCES_PER_KEY + 1):
        assert signatures.problem(replace(REQUEST, nonce=f"n{index}", at=1000.0 + index), "anna") is None
    assert signatures.problem(replace(REQUEST, nonce="n0", at=1000.0), "anna") == "request already used"
    assert signatures.problem(replace(REQUEST, nonce="n0", at=1001.0), "anna") is None


def test_the_keeper_asks_for_the_signature_of_allowed_people_only() -> None:
    keeper = DoorKeeper(DoorPolicy(doors=["gate"], allow=["anna"], signing=SIGNING), verify)
    assert keeper.judge(replace(REQUEST, signature=None), "bert", 0).reason == "not allowed"
    assert keeper.judge(replace(REQUEST, signature=None), "anna", 0).reason == "signature required"
    assert keeper.judge(REQUEST, "anna", 0).ok
    assert keeper.judge(REQUEST, "anna", 9).reason == "nonce already used"
