"""The four kinds of peer of the interop matrix, each as a program that obeys JSON commands."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web
from playwright.async_api import Page

from tests.support import js_sdk
from tests.support.browser import chromium
from tests.support.process import ROOT, Child, Event

JS = ROOT / "tests" / "interop" / "js"
PAGE = '<!doctype html><script type="module" src="/interop/chromium.mjs"></script>'
AUTOPLAY = "--autoplay-policy=no-user-gesture-required"
START_TIMEOUT_S = 60.0
QUIT_TIMEOUT_S = 30.0
EVENT_TIMEOUT_S = 30.0
OURS = "ours"
FOREIGN = ("official-py", "official-js-node", "official-js-chromium")
KINDS = (OURS, *FOREIGN)
PYTHON_SDKS = {OURS: "edge_node", "official-py": "metered_realtime"}


Wanted = Callable[[Event], bool]


def anything(event: Event) -> bool:
    return True


class Speaker(Protocol):
    """Takes commands and keeps events."""

    events: list[Event]

    @property
    def ended(self) -> str | None: ...

    async def tell(self, command: Event) -> None: ...


class Program:
    """One running program and its peer; waits look at the events after the last mark()."""

    def __init__(self, kind: str, speaker: Speaker) -> None:
        self.kind = kind
        self.peer_id = ""
        self._speaker = speaker
        self._since = 0

    @property
    def events(self) -> list[Event]:
        return self._speaker.events

    async def tell(self, do: str, **fields: Any) -> None:
        await self._speaker.tell({"do": do, **fields})

    def mark(self) -> None:
        """Later waits look at what comes from now on only."""
        self._since = len(self.events)

    def found(self, event: str, wanted: Wanted = anything, **fields: Any) -> list[Event]:
        """The events of this name with these fields since the mark."""
        named = (e for e in self.events[self._since :] if e["event"] == event)
        return [e for e in named if all(e[name] == value for name, value in fields.items()) and wanted(e)]

    async def event(
        self,
        event: str,
        wanted: Wanted = anything,
        *,
        count: int = 1,
        timeout_s: float = EVENT_TIMEOUT_S,
        **fields: Any,
    ) -> Event:
        """The count-th such event since the mark; fails with what came instead."""
        try:
            async with asyncio.timeout(timeout_s):
                while len(found := self.found(event, wanted, **fields)) < count:
                    assert not self._speaker.ended, f"{self.kind}: {self._speaker.ended}"
                    await asyncio.sleep(0.02)
        except TimeoutError:
            last = [e for e in self.events[self._since :] if e["event"] in (event, "error", "connection")][-4:]
            raise AssertionError(f"{self.kind}: no {event!r} {fields} in {timeout_s:g} s; last {last}") from None
        return found[count - 1]

    def can(self, codec: str) -> bool:
        """Python programs know both codecs; of the others the program itself says what it can."""
        codecs = next(e for e in self.events if e["event"] == "ready").get("codecs")
        return codecs is None or f"video/{codec}" in codecs


class _ChildSpeaker:
    def __init__(self, child: Child) -> None:
        self._child = child
        self.events = child.events

    @property
    def ended(self) -> str | None:
        if self._child.running:
            return None
        return f"ended with status {self._child.process.returncode}: {self._child.text[-12:]}"

    async def tell(self, command: Event) -> None:
        self._child.say(json.dumps(command))


class _PageSpeaker:
    def __init__(self, page: Page) -> None:
        self._page = page
        self.events: list[Event] = []

    @property
    def ended(self) -> str | None:
        return "the page is gone" if self._page.is_closed() else None

    async def tell(self, command: Event) -> None:
        await self._page.evaluate("(command) => { window.command(command); }", command)


@asynccontextmanager
async def program(kind: str) -> AsyncIterator[Program]:
    """A program of this kind, ready for commands; skips the test where it cannot run."""
    if kind in PYTHON_SDKS:
        child = Child.module("tests.interop.python_peer", PYTHON_SDKS[kind])
    elif kind == "official-js-node":
        child = Child(await js_sdk.node(), str(JS / "node.mjs"), str(await js_sdk.installed()))
    else:
        async with _chromium_program(await js_sdk.installed()) as it:
            yield it
        return
    async with child:
        it = Program(kind, _ChildSpeaker(child))
        await it.event("ready", timeout_s=START_TIMEOUT_S)
        yield it
        await it.tell("quit")
        with nullcontext() if kind == OURS else suppress(TimeoutError):
            status = await child.end(QUIT_TIMEOUT_S)
            assert status == 0 or kind != OURS, "our SDK did not end well"


@asynccontextmanager
async def killable(kind: str) -> AsyncIterator[tuple[Program, Child]]:
    """A Python program of this kind that may end as it likes, and its process."""
    async with Child.module("tests.interop.python_peer", PYTHON_SDKS[kind]) as child:
        it = Program(kind, _ChildSpeaker(child))
        await it.event("ready", timeout_s=START_TIMEOUT_S)
        yield it, child


@asynccontextmanager
async def _chromium_program(packages: Path) -> AsyncIterator[Program]:
    dist = packages / "node_modules" / "@metered-ca" / "realtime" / "dist"
    async with _site({"/sdk": dist, "/interop": JS}) as url, chromium(AUTOPLAY) as browser:
        page = await browser.new_page()
        speaker = _PageSpeaker(page)
        page.on("pageerror", lambda e: speaker.events.append({"event": "error", "where": "page", "text": str(e)}))
        await page.expose_function("say", lambda event: speaker.events.append(event))
        await page.goto(url)
        it = Program("official-js-chromium", speaker)
        await it.event("ready", timeout_s=START_TIMEOUT_S)
        yield it
        await it.tell("quit")


@asynccontextmanager
async def _site(folders: Mapping[str, Path]) -> AsyncIterator[str]:
    """A web server of this machine: a browser keeps pages from elsewhere from talking to a loopback address."""

    async def index(request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", index)
    for prefix, folder in folders.items():
        app.router.add_static(prefix, folder)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://localhost:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()
