"""Keeps the doors shut for a while after somebody opened the case, remembered over restarts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edge_node import durable
from edge_node.errors import RetryLater
from edge_node.node.supervisor import Report
from edge_node.ports import Clock

log = logging.getLogger(__name__)
audit = logging.getLogger("edge_node.audit")

MARKER = "doors-blocked-until"


class Tamper:
    """A part that is degraded while a case is open or the doors are blocked; on the event loop.

    The end of the block is kept in `state_dir` as unix seconds. A board without a clock chip starts with the time at
    which it stopped, so a power cut makes a block longer, never shorter; more than block_s it never is.
    """

    def __init__(
        self,
        block_s: float,
        clock: Clock,
        state_dir: Path | None,
        tell: Callable[[Mapping[str, Any]], None] = lambda message: None,
    ) -> None:
        self._block_s = block_s
        self._clock = clock
        self._marker = None if state_dir is None else state_dir / MARKER
        self._tell = tell
        self._open: set[str] = set()
        self._changed = asyncio.Event()
        self._until = clock.monotonic() + min(self._remembered_s(), block_s)

    @property
    def blocked_s(self) -> float:
        """Seconds until doors open again, 0 when they do."""
        return max(0.0, self._until - self._clock.monotonic())

    def changed(self, name: str, is_open: bool) -> None:
        """A case was opened or closed."""
        if is_open is (name in self._open):
            return
        if is_open:
            self._open.add(name)
            self._until = self._clock.monotonic() + self._block_s
            log.error("TAMPER: %s was opened", name)
        else:
            self._open.discard(name)
            log.warning("%s was closed", name)
        self._announce(name, "open" if is_open else "closed")

    def clear(self) -> str:
        """Somebody at this machine ends the block; says what is left."""
        audit.warning("tamper clear by control socket: allowed (%.0f s of the block were left)", self.blocked_s)
        self._until = self._clock.monotonic()
        self._announce(None, "cleared")
        return f"doors open again{f'; still open: {self._names()}' if self._open else ''}"

    def guard(self) -> None:
        """Raises RetryLater while no door may be opened."""
        if self.blocked_s > 0:
            raise RetryLater(f"the case of this node was opened: doors stay shut for {self._minutes()}")

    def described(self) -> str | None:
        """What is wrong, or None."""
        if self.blocked_s > 0:
            state = f"{self._names()} is open" if self._open else "the case was opened"
            return f"{state}: doors stay shut for {self._minutes()}, unless somebody runs: edge-node tamper clear"
        return f"{self._names()} is open: close it" if self._open else None

    async def run(self, report: Report) -> None:
        """Until cancelled."""
        while True:
            changed = self._changed
            try:
                await asyncio.to_thread(self._remember, self.blocked_s)
                unsaved = ""
            except OSError as err:
                unsaved = f" (forgotten at a restart: {self._marker} cannot be written, {err.strerror})"
            if (text := self.described()) is None:
                report.up()
            else:
                report.down(text + unsaved)
            try:
                # Minutes are what described() tells.
                async with asyncio.timeout(min(self.blocked_s, 60.0) or None):
                    await changed.wait()
            except TimeoutError:
                continue

    def _announce(self, name: str | None, state: str) -> None:
        self._tell({"type": "node.tamper", "input": name, "state": state, "blocked_s": round(self.blocked_s)})
        self._changed.set()
        self._changed = asyncio.Event()

    def _names(self) -> str:
        return ", ".join(sorted(self._open))

    def _minutes(self) -> str:
        minutes = -(-self.blocked_s // 60)
        return f"{minutes:.0f} more minute{'s' if minutes > 1 else ''}"

    def _remembered_s(self) -> float:
        if self._marker is None:
            return 0.0
        try:
            return max(0.0, float(self._marker.read_text()) - self._clock.wall())
        except FileNotFoundError:
            return 0.0
        except (OSError, ValueError):
            return self._block_s  # something was there: the cautious reading of a half-written file

    def _remember(self, blocked_s: float) -> None:
        if self._marker is None:
            return
        if blocked_s == 0:
            self._marker.unlink(missing_ok=True)
            return
        durable.put(self._marker, str(self._clock.wall() + blocked_s).encode())
