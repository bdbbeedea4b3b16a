"""The console's manners: every width, keyboard, labels, contrast, in light and dark."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.support.browser import DESKTOP, PHONE, Console, console
from tests.support.simulation import Simulation

pytestmark = [pytest.mark.chromium, pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

MIN_TARGET_PX = 44
"""WCAG 2.2, target size (enhanced)."""

AUDIT = (Path(__file__).parent / "console_units" / "audit.js").read_text()


async def faults(page: Console) -> dict[str, list[str]]:
    """What is wrong with the page as it stands; empty when nothing is."""
    found: dict[str, list[str]] = await page.page.evaluate(AUDIT)
    return {name: items for name, items in found.items() if items}


async def until_whole(page: Console) -> None:
    await page.until_state("idle")
    await page.until_moving()
    await page.until("document.querySelector('[data-testid=telemetry-fps]') !== null", 30)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_every_state_can_be_read(
    simulation: Simulation, browser: Browser, size: tuple[int, int], scheme: str
) -> None:
    async with console(browser, simulation.url, size=size, scheme="dark" if scheme == "dark" else "light") as page:
        label = f"{size[0]}-{scheme}"
        await until_whole(page)
        assert await faults(page) == {}
        await page.shoot(f"{label}-idle")
        await page.ring()
        await page.ask("scrollTo(0, 0)")
        assert await faults(page) == {}
        await page.shoot(f"{label}-ringing")
        await page.item("answer").click()
        await page.until("document.documentElement.dataset.phase === 'active'")
        await page.until_level("speaker-level", 10)
        assert await faults(page) == {}
        await page.shoot(f"{label}-in-call")
        await page.item("open-door").click()
        assert await faults(page) == {}
        await page.shoot(f"{label}-confirm")
        await page.item("hangup").click()
        await page.until_state("idle")


@pytest.mark.parametrize("width", [320, 360, 414, 600, 768, 899, 900, 1024, 1920, 2560])
async def test_no_width_breaks_it(simulation: Simulation, browser: Browser, width: int) -> None:
    async with console(browser, simulation.url, size=(width, 800)) as page:
        await until_whole(page)
        assert await faults(page) == {}
        call = await page.item("call-door").bounding_box()
        assert call is not None and call["y"] + call["height"] <= 800, "the one large control is in sight at once"


async def test_what_a_thumb_must_hit_is_large(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url, size=(320, 640)) as page:
        await until_whole(page)
        await page.ring()
        for testid in ("answer", "decline", "open-door"):
            box = await page.item(testid).bounding_box()
            assert box is not None and min(box["width"], box["height"]) >= MIN_TARGET_PX
            assert box["y"] >= 320 and box["y"] + box["height"] <= 640, f"{testid} lies under the thumb"
        await page.item("decline").click()
        await page.until_state("idle")


async def test_the_keyboard_reaches_everything_in_order(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        await until_whole(page)
        seen: list[str] = []
        for _ in range(40):
            await page.page.keyboard.press("Tab")
            name = await page.ask(
                "document.activeElement.dataset.testid ?? document.activeElement.id ?? document.activeElement.className"
            )
            if name in seen:
                break
            seen.append(name)
            outlined = await page.ask("getComputedStyle(document.activeElement).outlineStyle")
            assert outlined != "none", f"{name} shows no focus"
        wanted = ["you", "call-door", "open-door", "sim-press-call", "sim-switch-camera", "event-tail"]
        assert [name for name in seen if name in wanted] == wanted


async def test_a_screen_reader_is_told(simulation: Simulation, browser: Browser) -> None:
    async with console(browser, simulation.url) as page:
        assert await page.item("status-line").get_attribute("role") == "status"
        assert await page.item("ring-banner").get_attribute("role") == "alert"
        assert await page.ask("document.documentElement.lang") == "en"
        assert await page.ask("document.querySelectorAll('h1').length") == 1
        await until_whole(page)
        assert await page.text("who") != ""
        await page.until("document.title === 'Front door'")
        await page.ring()
        await page.until("document.title === 'Ringing: Front door'")
        await page.item("decline").click()
        await page.until("document.title === 'Front door'")
