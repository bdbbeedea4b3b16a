"""Who asks, behind a proxy: believed only where we said so."""

from __future__ import annotations

import aiohttp
import pytest
import websockets

from edge_node.hub.proxy import TrustedProxies
from tests.support.hub_client import client, refused_with, running_hub

LIMIT = {"connects_per_minute": 1}


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([], "127.0.0.1"),
        (["192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7:4711"], "192.0.2.7"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["2001:db8::7"], "2001:db8::7"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["10.9.9.9, 192.0.2.7"], "192.0.2.7"),  # what a client wrote itself stands in front
        (["10.9.9.9", "192.0.2.7, 10.0.0.1"], "192.0.2.7"),  # our second proxy is trusted, too
        (["unknown"], "127.0.0.1"),
        (["192.0.2.7, unknown"], "127.0.0.1"),
        (["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
        (["x" * 8000], "127.0.0.1"),
        ([",".join(["10.0.0.1"] * 2000)], "10.0.0.1"),
    ],
)
def test_the_client_is_the_nearest_address_that_is_no_proxy(lines: list[str], client: str) -> None:
    assert TrustedProxies(["127.0.0.1", "10.0.0.0/30"]).client("127.0.0.1", lines) == client


def test_nobody_is_trusted_unless_said() -> None:
    assert TrustedProxies([]).client("127.0.0.1", ["192.0.2.7"]) == "127.0.0.1"
    assert not TrustedProxies(["::/0"]).trusts("127.0.0.1") and not TrustedProxies(["::/0"]).trusts("nobody")


async def test_clients_behind_a_proxy_are_limited_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with running_hub(proxy={"trusted": ["127.0.0.1"]}, limits=LIMIT) as hub:
        for address in ("192.0.2.1", "192.0.2.2"):
            forwarded = {"X-Forwarded-For": address, "X-Forwarded-Proto": "https"}
            async with client(hub, additional_headers=forwarded) as anna:
                assert (await anna.ask(type="ping"))["type"] == "pong"
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with client(hub, additional_headers={"X-Forwarded-For": "9.9.9.9, 192.0.2.1"}):
                pass
        assert refused.value.response.status_code == 429
        assert await refused_with(hub, "key=x", additional_headers={"X-Forwarded-For": "192.0.2.3"}) == 4001
        assert "refused a client at 192.0.2.3" in caplog.text


async def test_a_page_behind_a_tls_proxy_is_a_secure_one() -> None:
    async with running_hub(proxy={"trusted": ["127.0.0.0/8"]}) as hub, aiohttp.ClientSession() as http:
        for scheme, secure in (("https", True), ("http", False), ("gopher", False)):
            headers = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": scheme}
            async with http.get(hub.http_url, headers=headers) as reply:
                assert (" ws://" not in reply.headers["Content-Security-Policy"]) is secure


async def test_an_untrusted_header_changes_nothing_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async with running_hub(limits=LIMIT) as hub:
        for _ in range(3):
            async with client(hub, additional_headers={"X-Forwarded-For": "192.0.2.1"}) as anna:
                assert anna.peer_id
        assert caplog.text.count("[proxy] trusted") == 1
