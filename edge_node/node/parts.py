"""Turns devices into supervised parts that are up once they really deliver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from edge_node.aio.heartbeats import HEARTBEATS
from edge_node.node.supervisor import Part, Report
from edge_node.ports import AccessUnit, AudioSink, AudioSource, Panel, VideoSink, VideoSource

if TYPE_CHECKING:
    import av

    from edge_node.ports import Pcm


class _FirstTime:
    """Calls up() on the event loop the first time it is touched, from whatever thread."""

    def __init__(self, up: Callable[[], None]) -> None:
        self._up = up
        self._loop = asyncio.get_running_loop()
        self._done = False

    def __call__(self) -> None:
        if not self._done:
            self._done = True
            self._loop.call_soon_threadsafe(self._up)


class _WatchedSink:
    def __init__(self, sink: VideoSink, first: _FirstTime) -> None:
        self._sink = sink
        self._first = first

    def picture(self, frame: av.VideoFrame, captured_at: float) -> None:
        self._first()
        with HEARTBEATS.step("camera"):
            self._sink.picture(frame, captured_at)

    def unit(self, unit: AccessUnit) -> None:
        self._first()
        with HEARTBEATS.step("camera"):
            self._sink.unit(unit)


def video_part(source: VideoSource, sink: VideoSink, name: str = "camera") -> Part:
    """Up with the first picture."""

    async def run(report: Report) -> None:
        await source.run(_WatchedSink(sink, _FirstTime(report.up)))

    return Part(name, run)


def microphone_part(source: AudioSource, sink: Callable[[Pcm], None], name: str = "microphone") -> Part:
    """Up with the first block."""

    async def run(report: Report) -> None:
        first = _FirstTime(report.up)

        def block(pcm: Pcm) -> None:
            first()
            with HEARTBEATS.step("microphone"):
                sink(pcm)

        await source.run(block)

    return Part(name, run)


def speaker_part(sink: AudioSink, pull: Callable[[int], Pcm], name: str = "speaker") -> Part:
    """Up with the first block that the device asks for."""

    async def run(report: Report) -> None:
        first = _FirstTime(report.up)

        def block(frames: int) -> Pcm:
            first()
            with HEARTBEATS.step("speaker"):
                return pull(frames)

        await sink.run(block)

    return Part(name, run)


def background_part(name: str, work: Callable[[], Awaitable[None]]) -> Part:
    """Something inside this process that is up as long as it runs."""

    async def run(report: Report) -> None:
        report.up()
        await work()

    return Part(name, run)


def panel_part(
    panel: Panel,
    on_press: Callable[[str], None],
    on_up: Callable[[], None],
    on_gone: Callable[[], None],
    name: str = "panel",
) -> Part:
    """Up as soon as the pins are taken; `on_up` may then show what the lights missed. Degraded when some are not."""

    async def run(report: Report) -> None:
        work = asyncio.ensure_future(panel.run(on_press))
        try:
            await asyncio.sleep(0)  # the pins are taken before the first wait, or the work has failed
            if not work.done():
                if panel.missing:
                    report.down("; ".join(panel.missing))
                else:
                    report.up()
                on_up()
            await work
        finally:
            on_gone()
            work.cancel()
            await asyncio.wait([work])

    return Part(name, run)
