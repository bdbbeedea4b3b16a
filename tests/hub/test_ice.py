"""TURN credentials in the welcome."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

from edge_node.hub.config import hub_config
from edge_node.hub.keys import KeyRing
from edge_node.protocol import payloads
from edge_node.protocol.grants import Grant
from tests.support.hub_client import client, running_hub

SECRET = "north"
TURN = {"urls": ["turn:192.0.2.1:3478", "turns:192.0.2.1:5349"], "secret": SECRET, "ttl_s": 600}
STUN = {"urls": "stun:192.0.2.1:3478"}
PLAIN = {"urls": "turn:192.0.2.9", "username": "u", "credential": "c"}


async def test_each_client_gets_a_credential_that_coturn_would_compute() -> None:
    async with running_hub(ice_server=[STUN, TURN, PLAIN]) as hub, client(hub) as anna, client(hub) as ben:
        stun, turn, plain = anna.welcome["metadata"]["iceServers"]
        assert stun == STUN and plain == PLAIN and turn["urls"] == TURN["urls"]
        ends, _, name = turn["username"].partition(":")
        assert name == anna.peer_id and abs(int(ends) - time.time() - 600) < 60
        # coturn: base64(hmac-sha1(static-auth-secret, username))
        digest = hmac.new(SECRET.encode(), turn["username"].encode(), hashlib.sha1).digest()
        assert turn["credential"] == base64.b64encode(digest).decode()
        assert ben.welcome["metadata"]["iceServers"][1]["username"] != turn["username"]
        assert SECRET not in str(anna.welcome)
        servers, problems = payloads.ice_servers(anna.welcome["metadata"])
        assert servers is not None and len(servers) == 3 and not problems


def test_the_tokens_own_list_wins_even_when_it_is_empty() -> None:
    secret = {"id": "sk_id_1", "secret": "s" * 40}
    ring = KeyRing(hub_config({"ice_server": [TURN], "secret": [secret]}))
    claims = {"sub": "anna", "exp": 1060, "channels": ["**"], "permissions": []}
    for own in ([], [STUN]):
        token = ring.mint("sk_id_1", claims | {"metadata": {"iceServers": own, "x": 1}})
        grant = ring.admit({"token": token}, None, 1000)
        assert isinstance(grant, Grant) and grant.metadata == {"iceServers": own, "x": 1}
    grant = ring.admit({"token": ring.mint("sk_id_1", claims | {"metadata": {"x": 1}})}, None, 1000)
    assert isinstance(grant, Grant) and grant.metadata is not None
    assert grant.metadata["iceServers"][0]["username"] == "1600:anna" and grant.metadata["x"] == 1


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(hub_config({"ice_server": [TURN]}))
