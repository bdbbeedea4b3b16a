"""The WebSocket endpoint, with real sockets on loopback."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import jwt
import pytest
import websockets

from edge_node.hub.server import Hub
from tests.support.hub_client import DEADLINE_S, SECRET, SECRET_ID, client, refused_with, running_hub
from tests.support.waiting import eventually


def token(secret: str = SECRET, kid: str | None = SECRET_ID, algorithm: str = "HS256", **changes: Any) -> str:
    claims = {
        "sub": "anna",
        "exp": int(time.time()) + 600,
        "channels": ["home/*"],
        "permissions": ["subscribe", "presence"],
    }
    return jwt.encode(claims | changes, secret, algorithm=algorithm, headers={"kid": kid} if kid else None)


def metric(hub: Hub, name: str) -> int:
    return int(getattr(hub._switchboard.totals, name))


async def test_two_clients_meet_talk_and_part() -> None:
    async with running_hub() as hub, client(hub) as anna:
        assert anna.welcome["expiresAt"] is None and abs(anna.welcome["serverTime"] - time.time()) < 60
        assert (await anna.join("home"))["joined"] == []
        async with client(hub) as ben:
            assert (await ben.join("home"))["joined"] == [{"peerId": anna.peer_id}]
            assert (await anna.until("presence"))["joined"] == [{"peerId": ben.peer_id}]
            await ben.say(type="publish", channel="home", data={"ü": [1, None]})
            assert (await anna.frame())["data"] == {"ü": [1, None]}
            await anna.say(type="send", to=ben.peer_id, data="offer")
            assert await ben.frame() == {"type": "direct", "from": anna.peer_id, "data": "offer"}
        assert (await anna.until("presence"))["left"] == [{"peerId": ben.peer_id}]


async def test_a_key_gets_another_peer_id_each_time() -> None:
    async with running_hub() as hub, client(hub) as one, client(hub) as two:
        assert one.peer_id != two.peer_id and not one.peer_id.startswith("resident-")


async def test_a_token_names_its_peer_and_carries_metadata() -> None:
    ice = [{"urls": "stun:192.0.2.1:3478"}]
    async with running_hub(ice_server=ice) as hub:
        async with client(hub, f"token={token(metadata={'x': 1}, peerMetadata={'name': 'Anna'})}") as anna:
            assert anna.peer_id == "anna" and anna.welcome["metadata"] == {"iceServers": ice, "x": 1}
            await anna.join("home/a")
            async with client(hub) as ben:
                assert ben.welcome["metadata"] == {"iceServers": ice}
                roster = await ben.join("home/a")
                assert roster["joined"] == [{"peerId": "anna", "metadata": {"name": "Anna"}}]
            answer = await anna.ask(type="publish", channel="home/a", data=1)
            assert answer["code"] == "action_not_permitted"
        own = [{"urls": "stun:192.0.2.2"}]
        async with client(hub, f"token={token(metadata={'iceServers': own})}") as carl:
            assert carl.welcome["metadata"] == {"iceServers": own}, "the token's list wins"


async def test_a_token_of_full_size_fits_the_request_line() -> None:
    big = token(metadata={"x": "x" * 8000}, peerMetadata={"y": "y" * 4000})
    async with running_hub() as hub, client(hub, f"token={big}") as anna:
        assert anna.peer_id == "anna"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("", 4001),
        ("key=", 4001),
        ("key=pk_live_wrong", 4001),
        ("key=pk_dev_test&token=x", 4001),
        ("token=garbage", 4001),
        ("token=a.b.c", 4001),
        ("token=" + "x" * 32_700, 4001),
        ({"secret": "z" * 40}, 4001),
        ({"kid": "sk_id_other"}, 4001),
        ({"kid": None}, 4001),
        ({"secret": "", "algorithm": "none"}, 4001),
        ({"secret": SECRET * 2, "algorithm": "HS512"}, 4001),
        ({"exp": int(time.time()) - 1}, 4002),
        ({"exp": int(time.time()) + 48 * 3600}, 4001),
        ({"sub": ""}, 4001),
        ({"peerMetadata": {"x": "x" * 4096}}, 4001),
        ({"channels": []}, 4003),
    ],
)
async def test_a_bad_credential_is_told_by_close_code_before_any_welcome(
    query: str | dict[str, Any], code: int
) -> None:
    """A dict is of changes to a good token, which is made now: one made with the list would be too old by its turn."""
    async with running_hub() as hub:
        text = query if isinstance(query, str) else f"token={token(**query)}"
        assert await refused_with(hub, text or "x=1") == code
        assert hub.connections == 0


async def test_an_origin_is_checked_when_a_browser_sends_one() -> None:
    key = {"id": "pk_live_page", "allowed_origins": ["https://home.example"], "channels": ["home/*"]}
    async with running_hub(key=[key]) as hub:
        assert await refused_with(hub, "key=pk_live_page", origin="https://evil.example") == 4001
        async with client(hub, "key=pk_live_page", origin="https://home.example") as page:
            assert (await page.ask(type="subscribe", channel="work"))["code"] == "channel_not_authorized"
        async with client(hub, "key=pk_live_page") as program:
            assert program.peer_id


async def test_a_token_ends_before_its_time() -> None:
    expires_at = int(time.time()) + 2
    async with running_hub() as hub, client(hub, f"token={token(exp=expires_at)}") as anna:
        assert anna.welcome["expiresAt"] == expires_at
        assert await anna.close_code() == 4002


async def test_a_flood_is_cut_off_and_the_others_stay() -> None:
    async with running_hub() as hub, client(hub) as anna, client(hub) as ben:
        for _ in range(1000):
            try:
                await anna.say(type="ping")
            except websockets.ConnectionClosed:
                break
        assert await anna.close_code() == 4011
        assert (await ben.ask(type="ping"))["type"] == "pong"


async def test_an_oversized_frame_closes() -> None:
    async with running_hub() as hub:
        for size in (65_537, 300_000):
            async with client(hub) as anna:
                await anna.socket.send("x" * size)
                assert await anna.close_code() == 1009
        async with client(hub) as anna:
            frame = '{"type":"ping","x":"%s"}'
            await anna.socket.send(frame % ("x" * (65_536 - len(frame) + 2)))
            assert (await anna.frame())["type"] == "pong"


async def test_garbled_messages_are_answered() -> None:
    async with running_hub() as hub, client(hub) as anna:
        for raw in ("{", b"\x00\xff", "[" * 30_000, '"\\ud800"', '{"type":"x","requestId":"\\ud800"}'):
            await anna.socket.send(raw)
            assert (await anna.frame())["type"] == "error"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"\x81\x82\x00\x00\x00\x00\xff\xfe", 1007),  # text that is no UTF-8
        (b"\x81\x02\xff\xfe", 1007),  # the same without a mask
        (b"\xf1\x80\x00\x00\x00\x00", 1002),  # reserved bits
        (b"\x83\x80\x00\x00\x00\x00", 1002),  # a reserved opcode
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", None),  # an absurd length
        (b"\x88\x81\x00\x00\x00\x00\x03", 1002),  # a close frame of one byte
        (b"\x81", None),  # cut off
    ],
)
async def test_broken_framing_harms_nobody_else(raw: bytes, code: int | None) -> None:
    async with running_hub() as hub, client(hub) as ben:
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
        writer.write(
            b"GET /v1?key=pk_dev_test HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        try:
            await eventually(lambda: hub.connections == 2)
            writer.write(raw)
            writer.write_eof()
            async with asyncio.timeout(DEADLINE_S):
                got = await reader.read()
        finally:
            writer.close()
        assert code is None or code.to_bytes(2, "big") in got[-40:]
        await eventually(lambda: hub.connections == 1)
        assert (await ben.ask(type="ping"))["type"] == "pong"


async def test_a_client_that_does_not_read_is_closed_and_the_others_get_everything() -> None:
    limits = {"queue_messages": 20, "messages_per_s": 10_000, "burst": 10_000}
    async with running_hub(limits=limits) as hub, client(hub) as talker, client(hub) as reader:
        await reader.join("home")
        async with client(hub, max_queue=1) as slow:
            await slow.say(type="subscribe", channel="home")
            await reader.until("presence")
            sent = 0
            while not metric(hub, "too_slow"):
                await talker.say(type="publish", channel="home", data="x" * 60_000)
                sent += 1
                assert len((await reader.until("message"))["data"]) == 60_000
                assert sent < 1000, "the hub keeps everything for a client that reads nothing"
            assert (await reader.until("presence"))["left"] == [{"peerId": slow.peer_id}]
            assert await slow.close_code() == 1008
        assert (await talker.ask(type="ping"))["type"] == "pong"


async def test_a_silent_client_is_pinged_then_given_up() -> None:
    limits = {"ping_every_s": 0.05, "ping_timeout_s": 1}
    async with (
        running_hub(limits=limits) as hub,
        aiohttp.ClientSession() as http,
        http.ws_connect(f"{hub.http_url}/v1?key=pk_dev_test", autoping=False) as socket,
    ):
        assert json.loads((await socket.receive(DEADLINE_S)).data)["type"] == "welcome"
        for _ in range(3):
            message = await socket.receive(DEADLINE_S)
            assert message.type is aiohttp.WSMsgType.PING
            await socket.pong(message.data)
        assert (await socket.receive(DEADLINE_S)).type is aiohttp.WSMsgType.PING
        await eventually(lambda: hub.connections == 0)


async def test_a_clients_own_ping_is_answered() -> None:
    async with running_hub() as hub, client(hub) as anna, asyncio.timeout(DEADLINE_S):
        await (await anna.socket.ping())


async def test_too_many_connects_from_one_address_are_refused_before_the_upgrade() -> None:
    async with running_hub(limits={"connects_per_minute": 2, "limit_loopback": True}) as hub:
        for _ in range(2):
            async with client(hub) as anna:
                assert anna.peer_id
        with pytest.raises(websockets.InvalidStatus) as refused:
            async with client(hub):
                pass
        assert refused.value.response.status_code == 429


async def test_this_machine_may_connect_as_often_as_it_likes() -> None:
    async with running_hub(limits={"connects_per_minute": 2}) as hub:
        for _ in range(5):
            async with client(hub) as anna:
                assert anna.peer_id


async def test_a_full_hub_says_so() -> None:
    async with running_hub(limits={"max_connections": 1}) as hub, client(hub):
        assert await refused_with(hub, "key=pk_dev_test") == 4010


async def test_a_plain_request_is_told_what_to_do() -> None:
    async with (
        running_hub() as hub,
        aiohttp.ClientSession() as http,
        http.get(f"{hub.http_url}/v1?key=pk_dev_test") as reply,
    ):
        assert reply.status == 426 and (await reply.json())["error"] == "invalid_request"


async def test_credentials_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    good = token()
    async with running_hub() as hub:
        async with client(hub, f"token={good}"), client(hub):
            pass
        await refused_with(hub, "key=pk_live_wrong")
        text = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith(("edge_node", "aiohttp")))
        assert "anna" in text
        assert not [s for s in (good, "pk_dev_test", "pk_live_wrong", hub.code, SECRET) if s in text]
