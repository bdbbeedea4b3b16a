"""Keeps the parts of the node running, each on its own, and says which are degraded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from edge_node.aio.tasks import cancel_and_wait
from edge_node.errors import DeviceMissing, Remedy, RetryLater, SettingsError
from edge_node.ports import Clock

log = logging.getLogger(__name__)

FIRST_PAUSE_S = 0.5
LAST_PAUSE_S = 4.0
"""The longest wait between two tries: whatever returns is used again within ten seconds."""
WRONG_PAUSE_S = 60.0
"""After an error that only other settings mend: many cameras lock out who gives a wrong password often."""
STEADY_S = 10.0
"""A part that was up this long starts again from the first pause."""
STOP_GRACE_S = 1.0


class PartState(Enum):
    """`off` is by choice (a setting), `degraded` is not."""

    OFF = "off"
    STARTING = "starting"
    UP = "up"
    DEGRADED = "degraded"


class Report(Protocol):
    """How a running part says how it is; on the event loop."""

    def up(self) -> None:
        """It works."""
        ...

    def down(self, reason: str) -> None:
        """It does not work for now, and mends itself: `reason` is for people."""
        ...

    def off(self, reason: str) -> None:
        """It does nothing, as somebody wants: no fault."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that opens, works until cancelled and releases; `run(report)` calls report.up() once it works."""

    name: str
    run: Callable[[Report], Awaitable[None]]


@dataclass(slots=True)
class Health:
    """What is known of one part."""

    state: PartState = PartState.STARTING
    reason: str = ""
    restarts: int = 0
    up_since: float | None = None


class _Report:
    def __init__(self, supervisor: Supervisor, name: str) -> None:
        self._supervisor = supervisor
        self._name = name

    def up(self) -> None:
        self._supervisor._up(self._name)

    def down(self, reason: str) -> None:
        self._supervisor._set(self._name, PartState.DEGRADED, reason)

    def off(self, reason: str) -> None:
        self._supervisor._set(self._name, PartState.OFF, reason)


class Supervisor:
    """Starts parts in order, restarts each by itself, and stops them in reverse order."""

    def __init__(
        self,
        parts: Sequence[Part],
        clock: Clock,
        *,
        on_change: Callable[[], None] = lambda: None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._parts = list(parts)
        self._clock = clock
        self._on_change = on_change
        self._pause = pause
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.health: dict[str, Health] = {part.name: Health() for part in parts}

    def degraded(self) -> list[str]:
        """One sentence for each part that is not well, in starting order."""
        return [f"{name}: {h.reason}" for name, h in self.health.items() if h.state is PartState.DEGRADED]

    @property
    def restarts(self) -> int:
        return sum(h.restarts for h in self.health.values())

    def start(self) -> None:
        for part in self._parts:
            self._tasks[part.name] = asyncio.create_task(self._keep(part), name=f"part:{part.name}")

    def failed(self) -> BaseException | None:
        """The exception of a keeper that itself broke: a bug, and a reason to let the service manager restart us."""
        for task in self._tasks.values():
            if task.done() and not task.cancelled() and (err := task.exception()) is not None:
                return err
        return None

    async def stop(self) -> None:
        """Stops the parts one after the other, the last started first."""
        for name in reversed(list(self._tasks)):
            task = self._tasks[name]
            await cancel_and_wait(task, STOP_GRACE_S)
            if not task.done():
                log.warning("%s did not stop within %g s", name, STOP_GRACE_S)
            self._set(name, PartState.OFF, "")

    async def _keep(self, part: Part) -> None:
        pause_s = FIRST_PAUSE_S
        health = self.health[part.name]
        while True:
            reason, hopeless = await self._once(part)
            was_up_s = 0.0 if health.up_since is None else self._clock.monotonic() - health.up_since
            if was_up_s >= STEADY_S:
                pause_s = FIRST_PAUSE_S
            self._set(part.name, PartState.DEGRADED, reason)
            health.up_since = None
            await self._pause(WRONG_PAUSE_S if hopeless else pause_s)
            pause_s = min(pause_s * 2, LAST_PAUSE_S)
            health.restarts += 1

    async def _once(self, part: Part) -> tuple[str, bool]:
        """Runs a part until it ends; says why it did, and whether only other settings would help."""
        try:
            await part.run(_Report(self, part.name))
        except (RetryLater, DeviceMissing, SettingsError) as err:
            return str(err), err.remedy is Remedy.RECONFIGURE
        except Exception as err:
            log.exception("%s stopped by a bug", part.name)
            return f"internal error ({type(err).__name__}: {err}); please report it", False
        return "ended by itself", False

    def _up(self, name: str) -> None:
        if self.health[name].state is not PartState.UP:
            self.health[name].up_since = self._clock.monotonic()
            self._set(name, PartState.UP, "")

    def _set(self, name: str, state: PartState, reason: str) -> None:
        health = self.health[name]
        if (health.state, health.reason) == (state, reason):
            return
        # The first failure is loud, the same one again is quiet.
        loud = state is PartState.DEGRADED or (health.state is PartState.DEGRADED and state is PartState.UP)
        log.log(
            logging.WARNING if loud else logging.INFO,
            "%s is %s%s",
            name,
            state.value,
            f": {reason}" * bool(reason),
            extra={"event": f"part.{state.value}", "component": name},
        )
        health.state, health.reason = state, reason
        self._on_change()
