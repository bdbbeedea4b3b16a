"""The console in Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright._impl._driver import compute_driver_executable
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright

from tests.support.process import ROOT

CHROMIUM = shutil.which("chromium")
ARGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
FAKE_MICROPHONE = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
NO_MICROPHONE = ("--deny-permission-prompts",)
PRESSES = 6
Size = tuple[int, int]
PHONE: Size = (360, 740)
DESKTOP: Size = (1400, 900)


def output_folder() -> Path:
    """Where screenshots go; never committed."""
    folder = Path(os.environ.get("EDGE_NODE_TEST_OUTPUT") or ROOT / "test-output")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@asynccontextmanager
async def chromium(*microphone: str) -> AsyncIterator[Browser]:
    """A browser of its own; skips the test where Debian's Chromium is not installed."""
    if CHROMIUM is None:
        pytest.skip("Debian's chromium is not installed: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=[*ARGS, *(microphone or FAKE_MICROPHONE)]
        )
        try:
            yield browser
        finally:
            await browser.close()


class Console:
    """One open console page; `problems` are errors of its scripts and violations of its policy."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.problems: list[str] = []
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("console", lambda message: self._heard(message.type, message.text))

    def _heard(self, kind: str, text: str) -> None:
        # A hub that is away is reported by the browser as an error of the network: not ours.
        if kind == "error" and "Content Security Policy" in text:
            self.problems.append(text)

    def item(self, testid: str) -> Locator:
        return self.page.get_by_test_id(testid)

    async def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression (wait_for_function is barred by the page's policy)."""
        return await self.page.evaluate(expression)

    async def until(self, expression: str, timeout_s: float = 30.0) -> None:
        """Waits for a JavaScript expression to be true; says what the page showed otherwise."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.ask(expression):  # noqa: ASYNC110  (a page has no event to wait for)
                    await asyncio.sleep(0.05)
        except TimeoutError:
            state, line = await self.state(), await self.text("status-line")
            raise AssertionError(f"not in {timeout_s} s: {expression} (page: {state}; {line!r})") from None

    async def state(self) -> str:
        return str(await self.ask("document.documentElement.dataset.state"))

    async def until_state(self, name: str, timeout_s: float = 30.0) -> None:
        await self.until(f"document.documentElement.dataset.state === {name!r}", timeout_s)

    async def until_line(self, part: str, timeout_s: float = 30.0) -> None:
        """Waits for words in the status line."""
        await self.until(f"document.getElementById('status-line').textContent.includes({part!r})", timeout_s)

    async def ring(self) -> None:
        """Presses the simulated button until it rings.

        A page is idle a moment before the door has heard so, and a door in a call does not ring.
        """
        for left in reversed(range(PRESSES)):
            await self.item("sim-press-call").click()
            try:
                await self.until_state("ringing", 5)
                return
            except AssertionError:
                if not left:
                    raise

    async def text(self, testid: str) -> str:
        return (await self.item(testid).text_content() or "").strip()

    async def level(self, testid: str) -> int:
        """A meter's level in percent."""
        return int(await self.item(testid).get_attribute("aria-valuenow") or 0)

    async def until_level(self, testid: str, percent: int, timeout_s: float = 30.0) -> None:
        """Waits for a meter to pass a level."""
        meter = f"document.querySelector('[data-testid={testid}]')"
        await self.until(f"Number({meter}.getAttribute('aria-valuenow')) >= {percent}", timeout_s)

    async def frames(self) -> int:
        """Pictures shown so far."""
        return int(await self.ask("document.getElementById('video').getVideoPlaybackQuality().totalVideoFrames"))

    async def until_moving(self, timeout_s: float = 30.0) -> None:
        """Waits until the picture moves."""
        before = await self.frames()
        await self.until(
            f"document.getElementById('video').getVideoPlaybackQuality().totalVideoFrames > {before} + 5", timeout_s
        )

    async def shoot(self, name: str) -> None:
        await self.page.screenshot(path=output_folder() / f"console-{name}.png")


@asynccontextmanager
async def console(
    browser: Browser,
    url: str,
    *,
    size: Size = DESKTOP,
    scheme: Literal["light", "dark"] = "light",
    name: str | None = None,
) -> AsyncIterator[Console]:
    """An opened page in a profile of its own; fails when its scripts had errors. `name`: what others see."""
    width, height = size
    context: BrowserContext = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    if name is not None:
        await context.add_init_script(f"localStorage.setItem('edge-node.name', {name!r})")
    try:
        opened = Console(await context.new_page())
        await opened.page.goto(url)
        yield opened
        assert opened.problems == []
    finally:
        await context.close()


def node_js() -> str:
    """The JavaScript runtime: the machine's own, else the one that playwright brings."""
    return shutil.which("node") or compute_driver_executable()[0]
