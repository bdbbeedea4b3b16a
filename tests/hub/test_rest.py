"""The control plane over real HTTP."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

from edge_node.hub.server import Hub
from tests.support.hub_client import SECRET, SECRET_ID, client, running_hub

NARROW = {"id": "sk_id_narrow", "secret": "n" * 40, "channels": ["home/*"], "permissions": ["publish"]}
CLAIMS = {"sub": "anna", "channels": ["home/*"], "permissions": ["subscribe", "presence"]}


class Admin:
    """Calls one hub."""

    def __init__(self, hub: Hub, http: aiohttp.ClientSession) -> None:
        self.hub = hub
        self._http = http

    async def call(
        self, method: str, path: str, credential: str = f"{SECRET_ID}:{SECRET}", **options: Any
    ) -> tuple[int, dict[str, Any]]:
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        url = URL(f"{self.hub.http_url}/v1/{path}", encoded=True)
        async with self._http.request(method, url, headers=headers, **options) as reply:
            assert reply.headers["X-Content-Type-Options"] == "nosniff"
            return reply.status, await reply.json()


@pytest.fixture
async def admin() -> AsyncIterator[Admin]:
    pairs = [{"id": SECRET_ID, "secret": SECRET}, NARROW]
    async with running_hub(secret=pairs) as hub, aiohttp.ClientSession() as http:
        yield Admin(hub, http)


async def test_a_token_is_minted_and_works(admin: Admin) -> None:
    status, reply = await admin.call("POST", "tokens", json=CLAIMS | {"expiresIn": 60, "peerMetadata": {"n": 1}})
    assert status == 200 and abs(reply["expiresAt"] - time.time() - 60) < 10
    async with client(admin.hub, f"token={reply['token']}") as anna:
        assert anna.peer_id == "anna"
        await anna.join("home/a")
        status, reply = await admin.call("GET", f"channels/{quote('home/a', safe='')}/peers")
        assert (status, reply) == (200, {"channel": "home/a", "peers": [{"peerId": "anna", "metadata": {"n": 1}}]})
    status, reply = await admin.call("POST", "tokens", json=CLAIMS | {"exp": int(time.time()) + 10})
    assert status == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"sub": None},
        {"channels": []},
        {"permissions": ["fly"]},
        {"expiresIn": 0},
        {"expiresIn": 86_401},
        {"expiresIn": "1h"},
        {"exp": 1},
        {"peerMetadata": []},
    ],
)
async def test_a_token_that_would_not_be_let_in_is_not_minted(admin: Admin, changes: dict[str, Any]) -> None:
    status, reply = await admin.call("POST", "tokens", json=CLAIMS | changes)
    assert status == 400 and reply["error"] == "invalid_request" and reply["message"]


async def test_publish_reaches_the_channel(admin: Admin) -> None:
    async with client(admin.hub) as anna:
        await anna.say(type="subscribe", channel="home/a", includeSenderMetadata=True)
        await anna.until("presence")
        body = {"data": {"x": 1}, "from": "backend", "peerMetadata": {"role": "server"}}
        assert await admin.call("POST", "channels/home%2Fa/publish", json=body) == (
            200,
            {"channel": "home/a", "delivered": 1},
        )
        assert await anna.frame() == {
            "type": "message",
            "channel": "home/a",
            "from": "backend",
            "data": {"x": 1},
            "fromMetadata": {"role": "server"},
        }
    status, reply = await admin.call("POST", "channels/nobody/publish", json={"data": None})
    assert (status, reply["delivered"]) == (200, 0)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("{", 400),
        ("[]", 400),
        ("", 400),
        ("[" * 20_000, 400),
        ('{"data":1e999}', 400),
        ('{"data":NaN}', 400),
        ('{"data":1,"from":7}', 400),
        ('{"data":1,"from":""}', 400),
        ('{"data":1,"peerMetadata":7}', 400),
        ('{"data":1,"peerMetadata":{"x":"' + "x" * 4096 + '"}}', 400),
        ('{"data":"' + "x" * 33_000 + '"}', 413),
    ],
)
async def test_a_bad_body_is_refused(admin: Admin, body: str, status: int) -> None:
    got, reply = await admin.call("POST", "channels/a/publish", data=body)
    assert (got, reply["error"]) == (status, "invalid_request")


async def test_a_kick_closes_and_counts(admin: Admin) -> None:
    assert await admin.call("DELETE", "peers/nobody") == (200, {"peerId": "nobody", "closed": 0})
    async with client(admin.hub) as anna:
        assert await admin.call("DELETE", f"peers/{anna.peer_id}") == (200, {"peerId": anna.peer_id, "closed": 1})
        assert await anna.close_code() == 4020
    assert (await admin.call("DELETE", "peers/%00"))[0] == 400


async def test_usage_counts_messages(admin: Admin) -> None:
    async with client(admin.hub) as anna:
        await anna.ask(type="publish", channel="a", data=1)
        status, usage = await admin.call("GET", "usage")
    assert status == 200 and usage["messagesUsed"] == 1
    assert usage["concurrentNow"] == usage["peakConcurrent"] == 1 and usage["periodStartUnix"] <= time.time()
    assert usage["plan"]["maxConcurrentConnections"] == 1000 and usage["plan"]["maxMessagesPerPeriod"] is None


@pytest.mark.parametrize("credential", ["", "pk_dev_test", f"{SECRET_ID}:wrong", f"wrong:{SECRET}", SECRET_ID])
async def test_who_has_no_secret_gets_nothing(admin: Admin, credential: str) -> None:
    for method, path in (
        ("POST", "tokens"),
        ("GET", "channels/a/peers"),
        ("POST", "channels/a/publish"),
        ("DELETE", "peers/a"),
        ("GET", "usage"),
    ):
        status, reply = await admin.call(method, path, credential)
        assert (status, reply["error"]) == (401, "unauthorized")


async def test_guessing_is_cut_off(admin: Admin) -> None:
    statuses = [(await admin.call("GET", "usage", "a:b"))[0] for _ in range(31)]
    assert statuses == [401] * 30 + [429]
    assert (await admin.call("GET", "usage"))[0] == 429


async def test_a_narrow_key_stays_narrow(admin: Admin) -> None:
    narrow = "sk_id_narrow:" + "n" * 40
    cases = [
        ("GET", "channels/home%2Fa/peers", 403, "action_not_permitted"),
        ("POST", "channels/work%2Fa/publish", 403, "channel_not_authorized"),
        ("POST", "channels/_system%2Fa/publish", 400, "channel_reserved"),
        ("POST", f"channels/{'x' * 257}/publish", 400, "invalid_request"),
    ]
    for method, path, status, code in cases:
        got, reply = await admin.call(method, path, narrow, json={"data": 1} if method == "POST" else None)
        assert (got, reply["error"]) == (status, code)
    assert (await admin.call("POST", "channels/home%2Fa/publish", narrow, json={"data": 1}))[0] == 200


async def test_odd_channel_names_are_percent_encoded(admin: Admin) -> None:
    for channel in ("home/ä ö", "home/a?b#c", "home/%2F", "home/a+b", "home//", "home/*", "home/."):
        status, reply = await admin.call("POST", f"channels/{quote(channel, safe='')}/publish", json={"data": 1})
        assert (status, reply["channel"]) == (200, channel)
    for bad in ("%00", "a%0Ab", "%C2%80", "%20%E2%80%8B"):
        status, reply = await admin.call("GET", f"channels/{bad}/peers")
        assert (status, reply["error"]) == (400, "invalid_request"), bad


async def test_a_narrow_key_mints_narrow_tokens(admin: Admin) -> None:
    claims = CLAIMS | {"channels": ["**"], "permissions": ["publish", "subscribe"]}
    status, reply = await admin.call("POST", "tokens", "sk_id_narrow:" + "n" * 40, json=claims)
    assert status == 200
    async with client(admin.hub, f"token={reply['token']}") as anna:
        assert (await anna.ask(type="publish", channel="home/a", data=1))["type"] == "ack"
        assert (await anna.ask(type="publish", channel="work/a", data=1))["code"] == "channel_not_authorized"
        assert (await anna.ask(type="subscribe", channel="home/a"))["code"] == "action_not_permitted"


async def test_a_key_has_its_own_rate() -> None:
    pairs = [{"id": SECRET_ID, "secret": SECRET}, NARROW]
    async with running_hub(secret=pairs, limits={"rest_per_minute": 2}) as hub, aiohttp.ClientSession() as http:
        admin = Admin(hub, http)
        statuses = [(await admin.call("GET", "usage"))[0] for _ in range(3)]
        assert statuses == [200, 200, 429]
        assert (await admin.call("GET", "usage", "sk_id_narrow:" + "n" * 40))[0] == 200


async def test_the_quota_holds_for_the_control_plane_too() -> None:
    limits = {"messages_per_period": 2, "period_s": 3600}
    async with running_hub(limits=limits) as hub, aiohttp.ClientSession() as http, client(hub) as anna:
        admin = Admin(hub, http)
        assert (await admin.call("POST", "channels/a/publish", json={"data": 1}))[0] == 200
        assert (await anna.ask(type="publish", channel="a", data=1))["type"] == "ack"
        assert (await anna.ask(type="publish", channel="a", data=1))["code"] == "over_message_quota"
        status, reply = await admin.call("POST", "channels/a/publish", json={"data": 1})
        assert (status, reply["error"]) == (429, "over_message_quota")
        _, usage = await admin.call("GET", "usage")
        assert (usage["messagesUsed"], usage["overageMessages"]) == (4, 2)
        assert usage["plan"]["maxMessagesPerPeriod"] == 2
        assert usage["periodEndUnix"] - usage["periodStartUnix"] == 3600
        async with http.get(f"{hub.http_url}/metrics") as reply_:
            assert "edge_node_hub_quota_used_messages 4\n" in await reply_.text()


async def test_unknown_paths_and_methods_are_json_too(admin: Admin) -> None:
    status, reply = await admin.call("GET", "nothing")
    assert (status, reply["error"]) == (404, "not_found")
    status, reply = await admin.call("GET", "tokens")
    assert (status, reply["error"]) == (404, "not_found")
    status, reply = await admin.call("PUT", "tokens")
    assert (status, reply["error"]) == (405, "invalid_request")
