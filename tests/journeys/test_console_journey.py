"""The whole appliance as a person meets it: `edge-node simulate` and its page in a real browser."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from playwright.async_api import Browser, Route

from tests.support.browser import NO_MICROPHONE, PHONE, Console, chromium, console
from tests.support.simulation import Simulation
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chromium, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

OPENINGS = 5
OPENING_S = 3.0
"""Issue 2: video moves within 3 s of opening the page."""


async def until_calm(page: Console, *, alone: bool = True) -> None:
    """Waits for live picture, no call, and for the pages of earlier tests to be gone."""
    await page.until_state("idle")
    await page.until_moving()
    if alone:
        await page.until("document.getElementById('who').textContent === 'Only you are here'")


async def talk(page: Console) -> None:
    """Rings, and answers with the mouse."""
    await page.ring()
    await page.item("answer").click()
    await page.until("document.documentElement.dataset.phase === 'active'")


async def hang_up(page: Console) -> None:
    await page.item("hangup").click()
    await page.until_state("idle")


async def test_the_picture_moves_soon_after_the_page_is_opened(simulation: Simulation, browser: Browser) -> None:
    """A wait in the code is there each time; a busy machine is quick at least once in OPENINGS."""
    opened_s: list[float] = []
    while not opened_s or opened_s[-1] >= OPENING_S:
        assert len(opened_s) < OPENINGS, f"the picture moved after {opened_s} s"
        started = time.monotonic()
        async with console(browser, simulation.url) as page:
            await page.until("document.getElementById('video').videoWidth > 0")
            await page.until_moving()
            opened_s.append(time.monotonic() - started)


async def test_press_be_seen_talk_open_the_door(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        await until_calm(page)
        assert "code=" not in await page.ask("location.href"), "the access code leaves the address bar"
        await page.until("Number(document.querySelector('[data-testid=telemetry-fps]')?.textContent) > 5", 40)
        await page.shoot("idle")

        await page.ring()
        assert await page.item("ring-banner").is_visible()
        await page.shoot("ringing")
        assert await page.ask("document.getElementById('video').muted")

        await page.item("answer").click()
        await page.until("document.documentElement.dataset.phase === 'active'")
        assert not await page.ask("document.getElementById('video').muted")
        await page.until_level("door-level", 10)  # the tone of the node's microphone
        await page.until_level("mic-level", 10)  # the beeps of Chromium's fake microphone
        await page.until_level("speaker-level", 10)  # and the same at the node's loudspeaker
        await page.until("/^(?!0:00)[0-9]+:[0-9]{2}/.test(document.getElementById('timer').textContent)")
        await page.shoot("in-call")

        mark = simulation.mark
        await page.item("open-door").click()
        await page.item("open-door-confirm").click()
        relay = await simulation.child.event(lambda e: e["event"] == "relay" and e["on"], since=mark)
        assert relay["name"] == "door"
        await page.until("document.querySelector('[data-testid=sim-relay-door]').dataset.on === 'true'")
        await page.until_line("Open: door.")
        await page.shoot("door-open")

        await hang_up(page)
        assert await page.ask("document.getElementById('video').muted")
        await page.until("Number(document.querySelector('[data-testid=speaker-level]').dataset.dbfs) <= -60")
        await page.until("document.querySelector('[data-testid=sim-relay-door]').dataset.on === 'false'")
        tail = await page.text("event-tail")
        for words in (
            "call.ring from",
            "call.answer sent",
            "call.state active by You",
            "door.result ok",
            "relay door on",
        ):
            assert words in tail


async def test_telemetry_moves(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        line = "document.querySelector('[data-testid=nodes] polyline')?.getAttribute('points')"
        await page.until(f"({line} ?? '') !== ''", 40)
        before = await page.ask(line)
        await page.until(f"{line} !== {before!r}", 40)
        assert await page.text("telemetry-viewers") not in ("", "0")


async def test_a_second_call_is_heard_as_well_as_the_first(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        await until_calm(page)
        for _ in range(3):
            await talk(page)
            await page.until_level("speaker-level", 10)
            await page.until_level("door-level", 10)
            await hang_up(page)


async def test_calling_the_door(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        await until_calm(page)
        await page.item("call-door").click()
        await page.until_state("in-call")
        await page.until_line("rings at")
        await page.item("sim-press-call").click()  # the button answers there
        await page.until("document.documentElement.dataset.phase === 'active'")
        await page.until_level("door-level", 10)
        await hang_up(page)


async def test_answered_elsewhere(simulation: Simulation, browser: Browser) -> None:
    async with (
        console(browser, simulation.url, name="Anna") as anna,
        console(browser, simulation.url, size=PHONE, name="Ben") as ben,
    ):
        await until_calm(anna, alone=False)
        await until_calm(ben, alone=False)
        await ben.until("document.getElementById('who').textContent.includes('Anna')")
        await anna.ring()
        await ben.until_state("ringing")
        await ben.shoot("phone-ringing")
        await anna.item("answer").click()
        await ben.until_line("Anna answered.")
        assert await ben.state() == "idle"
        await anna.until("document.documentElement.dataset.phase === 'active'")
        await anna.until_level("speaker-level", 10)
        await ben.shoot("phone-elsewhere")
        await hang_up(anna)


async def test_declining_ends_it_when_nobody_else_is_rung(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        await until_calm(page)
        await page.ring()
        mark = simulation.mark
        await page.item("decline").click()
        await page.until_state("idle")
        await simulation.child.event(lambda e: e["event"] == "call" and e["reason"] == "declined", since=mark)
        await page.until("document.getElementById('lastring-words').textContent.includes('you declined')")


async def test_by_keyboard(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        await until_calm(page)
        await page.item("sim-press-call").focus()
        await page.page.keyboard.press("Space")
        await page.until_state("ringing")
        await page.ask("document.activeElement.blur()")
        await page.page.keyboard.press("Enter")
        await page.until("document.documentElement.dataset.phase === 'active'")
        await page.item("open-door").focus()
        await page.page.keyboard.press("Enter")
        await page.until("document.activeElement.dataset.testid === 'open-door-confirm'")
        await page.page.keyboard.press("Escape")
        await page.until("document.querySelector('[data-testid=open-door-confirm]') === null")
        assert await page.state() == "in-call", "Escape first takes back the door"
        await page.page.keyboard.press("Escape")
        await page.until_state("idle")
        await page.ring()
        await page.page.keyboard.press("Escape")
        await page.until_state("idle")


async def test_without_a_microphone_one_still_sees_hears_and_opens(simulation: Simulation) -> None:
    async with chromium(*NO_MICROPHONE) as deaf, console(deaf, simulation.url) as page:
        await until_calm(page)
        await talk(page)
        await page.until_line("The door cannot hear you")
        assert not await page.item("mute").is_visible()
        await page.until_level("door-level", 10)
        await page.item("open-door").click()
        await page.item("open-door-confirm").click()
        await page.until_line("Open: door.")
        await page.shoot("no-microphone")
        await hang_up(page)


async def test_muting(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        await until_calm(page)
        await talk(page)
        await page.until_level("speaker-level", 10)
        await page.item("mute").click()
        await page.until_line("You are muted")
        await page.until("Number(document.querySelector('[data-testid=speaker-level]').dataset.dbfs) <= -50")
        await page.item("mute").click()
        await page.until_level("speaker-level", 10)
        await hang_up(page)


async def test_a_dead_camera_is_told_and_heals(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        await until_calm(page)
        await page.item("sim-switch-camera").click()
        await page.until_line("camera gives no picture", 40)
        await page.shoot("camera-dead")
        await page.item("sim-switch-camera").click()
        await page.until_line("All quiet", 40)
        await page.until_moving()


async def test_a_lost_wifi_is_told_and_heals(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        await until_calm(page)
        await page.item("sim-switch-wifi").click()
        await page.until_line("lost its network")
        assert await page.item("call-door").is_disabled()
        await page.item("sim-switch-wifi").click()
        await page.until_line("All quiet", 40)
        await talk(page)
        await page.until_level("speaker-level", 10)
        await hang_up(page)


async def test_the_hub_restarts_and_everything_comes_back(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        await until_calm(page)
        await page.ask("window.sameDocument = true")
        await page.item("sim-switch-hub").click()
        await page.until_line("connection to the hub was lost")
        await page.until_line("All quiet", 40)
        await page.until_moving()
        await talk(page)
        await page.until_level("speaker-level", 10)
        await page.until_level("door-level", 10)
        await hang_up(page)
        assert await page.ask("window.sameDocument"), "the page was not reloaded"


async def test_a_token_is_renewed_in_the_middle_of_a_call(simulation: Simulation, browser: Browser) -> None:
    sessions: list[dict[str, Any]] = []

    async def short(route: Route) -> None:
        response = await route.fetch()
        sessions.append(await response.json())
        await route.fulfill(response=response, json=sessions[-1] | {"expires_at": int(time.time()) + 5})

    async with console(browser, "about:blank") as page, console(browser, simulation.url, name="Anna") as anna:
        await page.page.route("**/console/session", short)
        await page.page.goto(simulation.url)
        await until_calm(page, alone=False)
        await until_calm(anna, alone=False)
        await talk(page)
        count = len(sessions)
        await eventually(lambda: len(sessions) >= count + 2, 30)
        assert len({session["peer_id"] for session in sessions}) == 1, "the same person under a new token"
        assert len({session["token"] for session in sessions}) == len(sessions)
        assert await page.ask("document.documentElement.dataset.phase") == "active"
        await page.until_level("speaker-level", 10)
        await anna.until_line("is talking to the door")
        await hang_up(page)


async def test_a_wrong_code_is_asked_for_again(simulation: Simulation, browser: Browser) -> None:
    origin, _, code = simulation.url.partition("#code=")
    async with console(browser, f"{origin}#code=wrong") as page:
        await page.until_state("error")
        assert await page.item("connect-form").is_visible()
        await page.until("document.getElementById('connect-hint').textContent.includes('not valid')")
        await page.shoot("wrong-code")
        await page.page.get_by_label("Access code").fill(code)
        await page.page.keyboard.press("Enter")
        await until_calm(page)
    async with console(browser, origin) as page:
        assert await page.item("connect-form").is_visible(), "no code: a form asks for it"


async def test_a_duplicated_tab_has_an_identity_of_its_own(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        await until_calm(page)
        second = Console(await page.page.context.new_page())
        await second.page.goto(simulation.url)
        await until_calm(second, alone=False)
        await page.until("!document.getElementById('who').textContent.includes('Only you')")
        await asyncio.gather(page.until_moving(), second.until_moving())
        await second.page.close()
        await page.until("document.getElementById('who').textContent.includes('Only you')", 30)
        await talk(page)
        await hang_up(page)
