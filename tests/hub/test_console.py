"""The console's session and files over real HTTP."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from edge_node.hub.config import hub_config
from edge_node.hub.pages import Pages, policy
from edge_node.hub.server import Hub
from tests.support.hub_client import SECRET_ID, client, running_hub

CODE = "open-sesame-1"
CONSOLE = {"code": CODE, "channel": "home/door*", "telemetry_channel": "t/door"}


async def session(hub: Hub, **body: Any) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as http, http.post(f"{hub.http_url}/console/session", json=body) as reply:
        return reply.status, await reply.json()


async def test_the_code_makes_a_resident() -> None:
    async with running_hub(console=CONSOLE, simulator=True) as hub:
        status, got = await session(hub, code=CODE, name=" Anna ")
        assert status == 200
        assert re.fullmatch(r"resident-[a-z2-9]{8}", got["peer_id"])
        assert abs(got["expires_at"] - time.time() - 3600) < 60
        assert {k: got[k] for k in ("name", "channel", "telemetry_channel", "ws_path", "simulator")} == {
            "name": "Anna",
            "channel": "home/door*",
            "telemetry_channel": "t/door",
            "ws_path": "/v1",
            "simulator": True,
        }
        async with client(hub, f"token={got['token']}") as anna, client(hub) as door:
            assert anna.peer_id == got["peer_id"]
            await anna.join("t/door")
            assert (await anna.ask(type="subscribe", channel="telemetry/*"))["type"] == "ack"
            assert (await anna.ask(type="subscribe", channel="home/doors"))["code"] == "channel_not_authorized"
            roster = await door.join("t/door")
            assert roster["joined"] == [{"peerId": got["peer_id"], "metadata": {"name": "Anna"}}]
            await anna.say(type="send", to=door.peer_id, data={"type": "door.open"})
            assert (await door.until("direct"))["from"] == got["peer_id"]


async def test_a_session_is_renewed_under_the_same_id() -> None:
    async with running_hub(console=CONSOLE) as hub:
        _, first = await session(hub, code=CODE)
        assert first["name"] == "" and first["simulator"] is False
        _, second = await session(hub, code=CODE, renew=first["token"])
        assert second["peer_id"] == first["peer_id"]
        for other in ("garbage", 7, hub.keys.mint(SECRET_ID, {"sub": "resident-mallory"})):
            _, third = await session(hub, code=CODE, renew=other)
            assert third["peer_id"] not in (first["peer_id"], "resident-mallory")


async def test_a_wrong_code_is_refused_and_guessing_is_cut_off() -> None:
    async with running_hub(console=CONSOLE) as hub:
        for wrong in ("", None, 7, ["x"]):
            status, reply = await session(hub, code=wrong)
            assert (status, reply["error"]) == (401, "wrong_code")
        for index in range(10):
            status, reply = await session(hub, code=f"guess {index}")
            assert (status, reply["error"]) == (401, "wrong_code") and reply["message"]
        status, reply = await session(hub, code=CODE)
        assert (status, reply["error"]) == (429, "rate_limited")


@pytest.mark.parametrize("name", ["x" * 41, 7, None])
async def test_a_bad_name_is_refused(name: object) -> None:
    async with running_hub(console=CONSOLE) as hub:
        assert (await session(hub, code=CODE, name=name))[0] == 400


async def test_the_code_is_random_unless_given() -> None:
    async with running_hub() as one, running_hub() as other:
        assert one.code != other.code and len(one.code) >= 20
        assert one.console_url == f"http://127.0.0.1:{one.port}/#code={one.code}"
        assert (await session(other, code=one.code))[0] == 401


async def test_routes_of_others_are_guarded_by_the_code() -> None:
    hub = Hub(hub_config({"port": 0, "console": CONSOLE}))

    async def press(request: web.Request) -> web.Response:
        return web.json_response({"pressed": hub.check_code(request)})

    hub.add_routes([web.post("/sim/press", press)])
    await hub.start()
    try:
        async with aiohttp.ClientSession() as http:
            for header, good in (
                (f"Bearer {CODE}", True),
                (f"bearer {CODE}", True),
                (CODE, False),
                ("Bearer x", False),
            ):
                async with http.post(f"{hub.http_url}/sim/press", headers={"Authorization": header}) as reply:
                    assert await reply.json() == {"pressed": good}
    finally:
        await hub.stop()


async def test_pages_come_under_a_strict_policy() -> None:
    async with running_hub() as hub, aiohttp.ClientSession() as http, http.get(hub.http_url) as reply:
        assert reply.status == 200 and reply.content_type == "text/html"
        text = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in text and "unsafe" not in text and "*" not in text
        assert f"connect-src 'self' ws://127.0.0.1:{hub.port} " in text and "frame-ancestors 'none'" in text
        assert reply.headers["Cache-Control"] == "no-cache" and reply.headers["X-Content-Type-Options"] == "nosniff"


def test_a_strange_host_does_not_get_into_the_policy() -> None:
    for host in ("", "a b", "x; script-src *", "'unsafe-inline'", "*", "[::1", "a:b"):
        assert "connect-src 'self';" in policy(host)
    assert "ws://[::1]:9292" in policy("[::1]:9292") and "wss://door.local" in policy("door.local")


async def serve(folder: Path) -> tuple[web.AppRunner, str]:
    app = web.Application()
    app.add_routes(Pages(folder).routes())
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


async def test_only_files_of_known_kinds_inside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    folder = tmp_path / "console"
    (folder / "lib").mkdir(parents=True)
    for name in ("index.html", "app.js", "app.css", "icon.svg", "lib/x.js", ".hidden.js", "notes.py", "a.webmanifest"):
        (folder / name).write_text("x")
    (folder / "out.json").symlink_to(tmp_path / "secret.json")
    expected = {
        "": "text/html; charset=utf-8",
        "app.js": "text/javascript; charset=utf-8",
        "lib/x.js": "text/javascript; charset=utf-8",
        "app.css": "text/css; charset=utf-8",
        "icon.svg": "image/svg+xml",
        "a.webmanifest": "application/manifest+json",
    }
    absent = ["nothing.js", "notes.py", ".hidden.js", "lib", "lib/", "out.json", "%2e%2e/secret.json"]
    absent += ["..%2fsecret.json", "lib/..%2f..%2fsecret.json", "%00.js", "x%00.js", "/etc/passwd", "%2fetc%2fx.json"]
    runner, url = await serve(folder)
    try:
        async with aiohttp.ClientSession() as http:
            for name, kind in expected.items():
                async with http.get(f"{url}/{name}") as reply:
                    assert (reply.status, reply.headers["Content-Type"]) == (200, kind)
            for name in absent:
                async with http.get(URL(f"{url}/{name}", encoded=True)) as reply:
                    assert reply.status == 404, name
    finally:
        await runner.cleanup()


async def test_the_console_can_be_left_out() -> None:
    async with running_hub(console={"enabled": False}) as hub, aiohttp.ClientSession() as http:
        async with http.get(hub.http_url) as reply:
            assert reply.status == 404
        async with http.get(f"{hub.http_url}/healthz") as reply:
            assert reply.status == 200
