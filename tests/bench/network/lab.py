"""A publisher in a process of its own, a bad network of ours, and viewers behind it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from av.video.frame import PictureType
from playwright.async_api import Page

from edge_node.media.encoders.codec import TIME_BASE
from edge_node.media.encoders.libx264 import open_libx264
from edge_node.ports import VIDEO_CLOCK
from tests.bench.media.contenders import Contender, Publishing, publisher
from tests.bench.media.publisher import FPS, pictures
from tests.support.browser import CHROMIUM
from tests.support.h264_clip import make_clip
from tests.support.link import Link
from tests.support.link import Path as Way

SCRIPT = Path(__file__).with_name("page.js").read_text()
NO_CHROMIUM = "Chromium is not installed: apt-get install chromium"
PUBLISHER = "publisher"
FIRST_S = 15.0


def missing() -> str | None:
    """Why there is no browser here; None when there is one."""
    return None if CHROMIUM else NO_CHROMIUM


class NoHub:
    """Signals go through this process."""

    url = ""


@dataclass(slots=True)
class Lab:
    """Where clips are kept, which are made once; `size` is theirs. Parts in a browser find their page here."""

    folder: Path
    size: tuple[int, int]
    opened: Page | None = None

    @property
    def page(self) -> Page:
        assert self.opened is not None
        return self.opened

    async def clip(self, kbps: int, gop_s: float) -> Path:
        """Keyframes of about 60 kB at 2 Mbit/s."""
        path = self.folder / f"{kbps}-{gop_s}.h264"
        if not path.exists():
            data = await asyncio.to_thread(make_clip, *self.size, FPS, seconds=3, gop_s=gop_s, kbps=kbps)
            path.write_bytes(data)
        return path

    async def steady_clip(self, kbps: int, gop_s: float) -> Path:
        """The same as a camera set to a constant rate sends it: keyframes of about 35 kB."""
        source = await self.clip(kbps, gop_s)
        path = source.with_suffix(".steady.h264")
        if not path.exists():
            await asyncio.to_thread(_encode_steadily, source, path, kbps, round(gop_s * FPS))
        return path


def _encode_steadily(source: Path, target: Path, kbps: int, gop: int) -> None:
    frames = pictures(source, 3 * FPS)
    codec = open_libx264(frames[0].width, frames[0].height, FPS, kbps, "superfast")
    data = bytearray()
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number * VIDEO_CLOCK // FPS, TIME_BASE
        frame.pict_type = PictureType.NONE if number % gop else PictureType.I
        data += b"".join(bytes(packet) for packet in codec.encode(frame))
    target.write_bytes(data)


def through(link: Link, sender: str, receiver: str, sdp: str) -> str:
    """A description as the receiver gets it, which leads through the link."""
    frame = {"type": "send", "to": receiver, "data": {"type": "rtc-description", "description": {"sdp": sdp}}}
    rewritten: str = json.loads(link.rewrite(sender, json.dumps(frame)))["data"]["description"]["sdp"]
    return rewritten


@dataclass(slots=True)
class Second:
    """One second of a browser's viewing."""

    fps: float
    frozen_s: float
    dropped: int


class Watching:
    """One viewer in Chromium, behind `forth` (from the publisher) and `back`."""

    def __init__(self, page: Page, link: Link, publishing: Publishing) -> None:
        self._page = page
        self.link = link
        self.publishing = publishing
        self.forth: Way = link.path(PUBLISHER, "page")
        self.back: Way = link.path("page", PUBLISHER)

    async def seen(self) -> dict[str, Any]:
        found: dict[str, Any] = await self._page.evaluate("() => seen(0)")
        return found

    async def first_ms(self) -> float | None:
        """From ICE to the first picture; None when none came in FIRST_S."""
        end = time.monotonic() + FIRST_S
        while time.monotonic() < end:
            first: float | None = (await self.seen())["firstMs"]
            if first is not None:
                return first
            await asyncio.sleep(0.02)
        return None

    async def seconds(self, count: int) -> list[Second]:
        """What is seen in each of the next seconds."""
        found = []
        before, at = await self.seen(), time.monotonic()
        for _ in range(count):
            await asyncio.sleep(max(0.0, at + 1 - time.monotonic()))
            now, now_at = await self.seen(), time.monotonic()
            frozen = now["totalFreezesDuration"] - before["totalFreezesDuration"]
            fps = (now["framesDecoded"] - before["framesDecoded"]) / (now_at - at)
            found.append(Second(fps, frozen, now["framesDropped"] - before["framesDropped"]))
            before, at = now, now_at
        return found

    async def nacks(self) -> tuple[int, int]:
        """NACKs and PLIs that the browser sent so far."""
        seen = await self.seen()
        return seen["nackCount"], seen["pliCount"]

    def resent_percent(self) -> float:
        """Repairs, as a share of the media bytes."""
        counters = self.forth.counters
        return 100 * counters.resent_bytes / max(1, counters.media_bytes)


@asynccontextmanager
async def watching(lab: Lab, contender: Contender, clip: Path, **settings: Any) -> AsyncIterator[Watching]:
    """One page that watches the contender; `settings` are those of each direction."""
    link = Link(NoHub(), 1, settings)
    try:
        async with publisher(contender, clip, "") as publishing:
            watched = Watching(lab.page, link, publishing)
            index, offer = await publishing.offer()
            answer = await lab.page.evaluate("(sdp) => view(sdp)", through(link, PUBLISHER, "page", offer))
            await publishing.answer(index, through(link, "page", PUBLISHER, answer))
            yield watched
            await lab.page.evaluate("() => leave()")
    finally:
        link.close()
