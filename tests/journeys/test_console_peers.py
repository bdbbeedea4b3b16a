"""The console with nodes that behave unlike ours: silent, crashing, rude."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser

from edge_node.hub.server import Hub
from tests.support.browser import console
from tests.support.hub_client import client, running_hub
from tests.support.peers import token
from tests.support.quiet_node import CHANNEL, quiet_node
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chromium, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

DOOR_IS_KNOWN = "!document.getElementById('call-door').disabled"
TELEMETRY = "telemetry/front-door"
DESCRIPTION = {"type": "node.description", "id": "front-door", "name": "Front door", "role": "door", "doors": ["door"]}
RING = {"type": "call.ring", "call": "c1", "node": "front-door", "name": "Front door", "at": 1}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hub() -> AsyncIterator[Hub]:
    async with running_hub() as running:
        yield running


async def test_media_that_is_not_offered_is_asked_for(hub: Hub, browser: Browser) -> None:
    async with quiet_node(hub) as node, console(browser, hub.console_url) as page:
        await page.until_moving(30)
        assert node.offers == 1


async def test_a_connection_that_breaks_is_built_anew(hub: Hub, browser: Browser) -> None:
    async with quiet_node(hub) as node, console(browser, hub.console_url) as page:
        await page.until_moving(30)
        await node.lose_media()
        await eventually(lambda: node.offers >= 2, 40)
        await page.until_moving(30)


async def test_a_door_may_come_after_the_page(hub: Hub, browser: Browser) -> None:
    async with console(browser, hub.console_url) as page:
        await page.until_line("No door is here yet")
        assert await page.item("call-door").is_disabled()
        async with quiet_node(hub):
            await page.until(DOOR_IS_KNOWN)
        await page.until_line("lost its network")
        async with quiet_node(hub):  # under another peer id, as publishable keys give
            await page.until_moving(30)


async def test_a_ring_that_is_not_repeated_ends(hub: Hub, browser: Browser) -> None:
    async with quiet_node(hub) as node, console(browser, hub.console_url) as page:
        await page.until(DOOR_IS_KNOWN)
        await node.say(RING | {"call": "short"})
        await page.until_state("ringing")
        await page.until_state("idle", 20)
        await page.until("document.getElementById('lastring-words').textContent.includes('nobody answered')")


async def test_no_answer_to_the_answer(hub: Hub, browser: Browser) -> None:
    async with quiet_node(hub) as node, console(browser, hub.console_url) as page:
        await page.until(DOOR_IS_KNOWN)
        await node.say(RING | {"call": "mute"})
        await page.until_state("ringing")
        await page.item("answer").click()
        await page.until_line("did not confirm", 20)
        assert await page.state() == "idle"
        assert {"type": "call.answer", "call": "mute"} in node.heard


async def test_what_others_say_is_text(hub: Hub, browser: Browser) -> None:
    rude = "<img src=x onerror=alert(1)><b>Door</b>"
    async with quiet_node(hub, node="<i>id</i>", name=rude) as node, console(browser, hub.console_url) as page:
        await page.until("document.getElementById('title').textContent.includes('<b>')")
        await node.say(RING | {"call": "<u>rude</u>", "name": rude})
        await page.until_state("ringing")
        assert rude in await page.text("ring-banner")
        assert await page.ask("document.querySelectorAll('main img, main b, main u, main i').length") == 0
        await page.item("decline").click()
        await eventually(lambda: {"type": "call.decline", "call": "<u>rude</u>"} in node.heard)


async def test_a_stranger_shows_nothing_of_the_door_as_its_own(hub: Hub, browser: Browser) -> None:
    """One that overhears, claims the door's id and name, talks at length, reports in its name; the door has a token."""
    door = quiet_node(hub, query=f"token={token('front-door')}")
    async with door as node, console(browser, hub.console_url) as page, client(hub) as mallory:
        await page.until_moving(30)
        await mallory.join(CHANNEL)
        await mallory.say(type="publish", channel=CHANNEL, data=DESCRIPTION)
        await mallory.say(type="publish", channel=CHANNEL, data=RING | {"call": "false"})
        await mallory.say(type="publish", channel=CHANNEL, data={"type": "call.state", "state": "x" * 60_000})
        await mallory.say(type="publish", channel=CHANNEL, data={"type": "error", "reason": "call 555-0100"})
        report = {"type": "telemetry", "node": "front-door", "service": {"degraded": ["camera: by mallory"]}}
        await mallory.say(type="publish", channel=TELEMETRY, data=report)
        await mallory.say(type="publish", channel=TELEMETRY, data=report | {"node": "seen"})
        await page.until("document.querySelector('[data-node=seen]')")
        assert await page.state() == "idle"
        assert await page.ask("document.querySelectorAll('[data-node=front-door]').length") == 0
        assert (
            await page.ask(
                "Math.max(...[...document.querySelectorAll('#event-tail li')].map((li) => li.innerText.length))"
            )
            < 160
        )
        assert "555" not in await page.text("status-line")
        # Under an id of its own it may ring, but not with the door's picture.
        await mallory.say(type="publish", channel=CHANNEL, data=DESCRIPTION | {"id": "own"})
        await mallory.say(type="publish", channel=CHANNEL, data=RING | {"call": "own"})
        await page.until_state("ringing")
        await page.until("document.getElementById('video').srcObject === null")
        await page.item("decline").click()
        await page.until_state("idle")
        await page.until_moving(30)
        await node.say(RING | {"call": "true"})
        await page.until_state("ringing")


async def test_garbage_is_survived(hub: Hub, browser: Browser) -> None:
    garbage: list[Any] = [
        None, 7, "text", [], {"type": []}, {"type": "call.ring"}, {"type": "call.state", "call": {"a": 1}},
        {"type": "rtc-description"}, {"type": "rtc-description", "description": {"type": "offer", "sdp": "v=9"}},
        {"type": "rtc-description", "description": {"type": "answer", "sdp": "a=msid:node:x y"}},
        {"type": "rtc-ice", "candidate": {"candidate": "nonsense"}}, {"__meteredTrackMeta": None}, {"type": "error"},
    ]  # fmt: skip
    async with quiet_node(hub) as node, console(browser, hub.console_url, name="Anna") as page:
        await page.until_moving(30)
        for data in garbage:
            await node.say(data)
            for peer in node.peers:
                await node.send(peer, data)
        await page.until_moving()
        await node.say(RING | {"call": "after"})
        await page.until_state("ringing")
