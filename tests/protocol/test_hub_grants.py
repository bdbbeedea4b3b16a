"""What the claims of a token become."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.protocol.grants import EVERYTHING, Grant, Refusal, grant_from_claims, scope
from edge_node.protocol.patterns import parse_pattern

NOW = 1_800_000_000.0
GOOD: dict[str, Any] = {
    "sub": "resident-anna",
    "exp": NOW + 3600,
    "channels": ["home/*"],
    "permissions": ["publish", "subscribe"],
}


def granted(**changes: Any) -> Grant:
    grant = grant_from_claims(GOOD | changes, NOW)
    assert isinstance(grant, Grant), grant
    return grant


def refused(**changes: Any) -> Refusal:
    claims = {k: v for k, v in (GOOD | changes).items() if v is not ...}
    refusal = grant_from_claims(claims, NOW)
    assert isinstance(refusal, Refusal), refusal
    return refusal


def test_a_good_token() -> None:
    grant = granted(metadata={"iceServers": []}, peerMetadata={"name": "Anna"}, iat=NOW, nbf=NOW + 59)
    assert grant.peer_id == "resident-anna" and grant.expires_at == int(NOW + 3600)
    assert grant.permits("publish") and not grant.permits("send")
    assert grant.allows("home/door") and not grant.allows("work/door")
    assert grant.metadata == {"iceServers": []} and grant.peer_metadata == {"name": "Anna"}


def test_the_keys_scope_narrows_the_token() -> None:
    grant = grant_from_claims(
        GOOD | {"channels": ["**"]}, NOW, scope(["home/**", "other/*"], ["publish", "send", "presence"])
    )
    assert isinstance(grant, Grant)
    assert grant.permits("publish") and not grant.permits("subscribe") and not grant.permits("send")
    assert grant.allows("home/a/b") and not grant.allows("elsewhere")
    assert grant.allows_pattern(parse_pattern("home/*")) and not grant.allows_pattern(parse_pattern("**"))


def test_everything_is_everything() -> None:
    grant = Grant("p", (EVERYTHING,))
    assert grant.allows("a/b/c") and all(grant.permits(p) for p in ("publish", "subscribe", "presence", "send"))


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": ...},
        {"exp": True},
        {"exp": "soon"},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"exp": NOW + 24 * 3600 + 61},
        {"nbf": NOW + 61},
        {"iat": NOW + 61},
        {"iat": []},
        {"sub": ...},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 129},
        {"sub": "é"},
        {"sub": "a\x7f"},
        {"channels": ...},
        {"channels": "home/*"},
        {"channels": [1]},
        {"channels": ["x"] * 101},
        {"channels": ["a\nb"]},
        {"permissions": ...},
        {"permissions": ["publish", "fly"]},
        {"metadata": []},
        {"metadata": {"a": "x" * 8192}},
        {"metadata": {"a": float("inf")}},
        {"peerMetadata": {"a": "x" * 4096}},
    ],
)
def test_a_bad_claim_is_an_invalid_token(changes: dict[str, Any]) -> None:
    refusal = refused(**changes)
    assert refusal.code == 4001 and refusal.reason


def test_expired_and_empty_tokens_have_their_own_codes() -> None:
    assert refused(exp=NOW).code == 4002
    assert refused(channels=[]).code == 4003
    assert refused(channels=["_system/*", "_Metered/x"]).code == 4003


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*GOOD, "metadata", "peerMetadata", "iat", "nbf"), JSON)))
def test_no_claims_raise(claims: dict[str, Any]) -> None:
    assert isinstance(grant_from_claims(GOOD | claims, NOW), Grant | Refusal)
