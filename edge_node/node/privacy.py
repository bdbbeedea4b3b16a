"""The switch that stops the camera with the microphone, remembered over restarts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from edge_node.durable import sync_folder
from edge_node.node.supervisor import Part, Report

log = logging.getLogger(__name__)

MARKER = "privacy-is-on"
TRY_AGAIN_S = 30.0
"""A disk that was full or read-only may take it now."""
CAPTURES = frozenset({"camera", "microphone"})
"""The parts that see or hear."""


class Privacy:
    """outputs.Gate: `set_muted` closes the devices, opens them again; made and used on the event loop.

    While it is on, a file in `state_dir` stands for it: creating or removing a name is atomic, so a power cut leaves
    one of the two states. Without `state_dir` it is forgotten at a restart.
    """

    def __init__(self, state_dir: Path | None = None) -> None:
        self._marker = None if state_dir is None else state_dir / MARKER
        self._changed = asyncio.Event()
        self._observers: list[Callable[[bool], None]] = []
        self.on = self._marker is not None and self._marker.exists()

    def observe(self, observer: Callable[[bool], None]) -> None:
        """`observer(on)` at once after each change."""
        self._observers.append(observer)

    def set_in_call(self, in_call: bool) -> None:
        """A call changes nothing: who wants to be private stays it."""

    def set_muted(self, muted: bool) -> None:
        """From now on."""
        if muted == self.on:
            return
        self.on = muted
        log.warning("privacy is %s: camera and microphone are %s", *(("on", "shut") if muted else ("off", "opened")))
        for observer in self._observers:
            observer(muted)
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, on: bool) -> None:
        """Returns when privacy is on, or off."""
        while self.on is not on:
            await self._changed.wait()

    async def run(self, report: Report) -> None:
        """The part that remembers; a state that cannot be written degrades it and is tried again."""
        while True:
            on, changed, wait_s = self.on, self._changed, None
            try:
                await asyncio.to_thread(self._remember, on)
            except OSError as err:
                report.down(f"its state is forgotten at a restart ({err.strerror}): make {self._marker} writable")
                wait_s = TRY_AGAIN_S
            else:
                report.up()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await changed.wait()

    def _remember(self, on: bool) -> None:
        if self._marker is None or on is self._marker.exists():
            return
        if on:
            self._marker.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._marker.touch(mode=0o600)
        else:
            self._marker.unlink()
        sync_folder(self._marker.parent)


def shut_while_private(part: Part, privacy: Privacy) -> Part:
    """The part, run only while privacy is off: otherwise it is stopped, has closed its device, and is `off`."""

    async def run(report: Report) -> None:
        while True:
            if privacy.on:
                report.off("privacy is on")
                await privacy.until(False)
            work = asyncio.ensure_future(part.run(report))
            private = asyncio.ensure_future(privacy.until(True))
            try:
                await asyncio.wait([work, private], return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    return work.result()
            finally:
                work.cancel()
                private.cancel()
                # The parts bound by themselves how long they take to close; until then the device is not shut.
                await asyncio.wait([work, private])
            if not work.cancelled() and (err := work.exception()) is not None:
                log.info("%s ended with %s when privacy shut it", part.name, err)

    return Part(part.name, run)
