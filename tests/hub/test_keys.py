"""The key ring on its own."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.hub.config import hub_config
from edge_node.hub.keys import KeyRing, same
from edge_node.protocol.grants import Grant, Refusal

NOW = 1_800_000_000.0
SECRET = "s" * 40
SCOPED = {"id": "sk_id_home", "secret": SECRET, "channels": ["home/*"], "permissions": ["publish", "send"]}
CLAIMS: dict[str, Any] = {"sub": "anna", "exp": NOW + 60, "channels": ["**"], "permissions": ["publish", "subscribe"]}


def ring(**values: Any) -> KeyRing:
    return KeyRing(hub_config({"secret": [SCOPED]} | values))


def test_a_local_hub_without_keys_draws_one() -> None:
    one, other = KeyRing(hub_config({})), KeyRing(hub_config({}))
    assert one.dev_key and one.dev_key.startswith("pk_dev_") and one.dev_key != other.dev_key
    assert ring().dev_key is None and ring(dev_key="mine").dev_key == "mine"
    assert isinstance(one.admit({"key": one.dev_key}, None, NOW), Grant)
    assert isinstance(one.admit({"key": other.dev_key or ""}, None, NOW), Refusal)


def test_a_pairs_scope_narrows_what_its_tokens_claim() -> None:
    grant = ring().verify(ring().mint("sk_id_home", CLAIMS), NOW)
    assert isinstance(grant, Grant)
    assert grant.permits("publish") and not grant.permits("subscribe") and not grant.permits("send")
    assert grant.allows("home/x") and not grant.allows("work/x")


def test_a_rings_console_is_its_own() -> None:
    here, there = ring(), ring()
    token = here.mint_for_console(CLAIMS)
    assert isinstance(here.verify(token, NOW), Grant) and isinstance(there.verify(token, NOW), Refusal)
    assert here.resident(token) == "anna" and there.resident(token) is None
    assert here.resident(here.mint("sk_id_home", CLAIMS)) is None and here.resident("x") is None
    with pytest.raises(KeyError):
        here.mint("other", CLAIMS)


def test_an_expired_token_says_so() -> None:
    refused = ring().verify(ring().mint("sk_id_home", CLAIMS), NOW + 61)
    assert isinstance(refused, Refusal) and refused.code == 4002
    assert ring().resident("") is None


def test_only_the_control_planes_credential_is_one() -> None:
    keys = ring()
    found = keys.scope_of_secret(f"sk_id_home:{SECRET}")
    assert found is not None and found[0] == "sk_id_home"
    for wrong in ("", ":", "sk_id_home", "sk_id_home:", f"other:{SECRET}", f"sk_id_home:{SECRET}x", "pk_live_1"):
        assert keys.scope_of_secret(wrong) is None


def test_claims_that_are_no_object_are_refused() -> None:
    payload = jwt.api_jws.PyJWS().encode(b"[1]", SECRET, "HS256", {"kid": "sk_id_home"})
    assert isinstance(ring().verify(payload, NOW), Refusal)


def test_comparing_takes_any_text() -> None:
    assert same("ü", "ü") and not same("a", "\ud800")


RING = ring()


@given(st.text(max_size=60) | st.builds(".".join, st.lists(st.text("eyJ0_-Aa=.", max_size=20), max_size=4)))
def test_no_text_raises(text: str) -> None:
    assert isinstance(RING.verify(text, NOW), Refusal)
    assert isinstance(RING.admit({"key": text}, text, NOW), Refusal)
