"""The daemon: starts the node, tells the service manager, obeys signals and the control socket."""

from __future__ import annotations

import asyncio
import base64
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from edge_node.aio.heartbeats import HEARTBEATS
from edge_node.errors import Bug, RetryLater, SettingsError, UsageError
from edge_node.node.control import ControlServer
from edge_node.node.node import Node
from edge_node.node.status import status_line
from edge_node.ports import Watchdog
from edge_node.settings import Settings

log = logging.getLogger(__name__)

STATUS_EVERY_S = 1.0
MAX_SNAPSHOT_BYTES = 700_000
"""In base64 it fits into one answer of the control socket."""
MAX_CLIPS = 1000
STOP_DEADLINE_S = 2.5
"""`systemctl stop` takes under three seconds."""


class ServiceManager(Watchdog, Protocol):
    """ports.Watchdog that says how often it wants to hear alive()."""

    interval_s: float | None


class Service:
    """One node at a time, replaced by a new one on reload."""

    def __init__(
        self,
        settings: Settings,
        *,
        build: Callable[[Settings], Node],
        reload: Callable[[], Settings],
        manager: ServiceManager,
        socket: Path | None,
        stuck: Callable[[], Sequence[str]] = HEARTBEATS.stuck,
    ) -> None:
        """`stuck()` names threads that only the end of this process sets free."""
        self._settings = settings
        self._stuck = stuck
        self._build = build
        self._reload = reload
        self._manager = manager
        self._socket = socket
        self._node: Node | None = None
        self._end = asyncio.Event()
        self._reloading: asyncio.Task[str] | None = None

    @property
    def node(self) -> Node:
        if self._node is None:
            raise UsageError("the node is just starting: try again in a moment")
        return self._node

    async def run(self) -> None:
        """Until stop(), SIGTERM or SIGINT. Raises Bug when the node cannot keep its promises any more."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
        control = ControlServer(self._socket, self.command) if self._socket is not None else None
        pulse = None
        try:
            self._node = self._build(self._settings)
            await self._node.start()
            if control is not None:
                await control.start()
            self._manager.ready()
            pulse = asyncio.create_task(self._pulse(), name="service:pulse")
            end = asyncio.create_task(self._end.wait(), name="service:end")
            await asyncio.wait([pulse, end], return_when=asyncio.FIRST_COMPLETED)
            end.cancel()
            if pulse.done():
                pulse.result()
        finally:
            self._manager.stopping()
            await self._shut_down(pulse, control)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def stop(self) -> None:
        self._end.set()

    async def _shut_down(self, pulse: asyncio.Task[None] | None, control: ControlServer | None) -> None:
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                for task in (pulse, self._reloading):
                    if task is not None:
                        task.cancel()
                        await asyncio.wait([task])
                if control is not None:
                    await control.stop()
                if self._node is not None:
                    await self._node.stop()
        except TimeoutError:
            log.warning("something did not stop within %g s; leaving anyway", STOP_DEADLINE_S)

    async def _pulse(self) -> None:
        """Tells the service manager that loop and media threads move, what the node does; never waits for the network.

        A stuck thread cannot be ended: the service manager, no longer fed, ends the process and starts it again.
        """
        interval_s = min(STATUS_EVERY_S, self._manager.interval_s or STATUS_EVERY_S)
        told: Sequence[str] = ()
        while True:
            if (err := self.node.failed()) is not None:
                raise Bug(f"a keeper of the node broke ({err}); the service manager starts it again") from err
            if stuck := self._stuck():
                if stuck != told:
                    log.error(
                        "stuck: %s; waiting for the watchdog to start the node again",
                        ", ".join(stuck),
                        extra={"event": "service.stuck"},
                    )
                self._manager.status(f"stuck: {', '.join(stuck)}; the watchdog starts the node again")
            else:
                self._manager.alive()
                self._manager.status(status_line(self.node.status()))
            told = stuck
            await asyncio.sleep(interval_s)

    # Reload

    def _reload_soon(self) -> None:
        if self._reloading is None or self._reloading.done():
            self._reloading = asyncio.create_task(self._do_reload(), name="service:reload")

    async def _do_reload(self) -> str:
        """New settings take the place of the old ones; wrong ones change nothing; a call is never cut."""
        self._manager.reloading()
        try:
            settings = self._reload()
        except SettingsError as err:
            log.error("the settings were not reloaded, the old ones stay: %s", err)
            self._manager.ready()
            return f"not reloaded: {err}"
        self._manager.ready()
        if settings == self._settings:
            return "the settings are the same"
        await self.node.until_idle()
        try:
            fresh = self._build(settings)  # opens nothing yet
        except SettingsError as err:
            log.error("the settings were not reloaded, the old ones stay: %s", err)
            return f"not reloaded: {err}"
        await self.node.stop()
        self._settings, self._node = settings, fresh
        await fresh.start()
        log.info("the settings were reloaded", extra={"event": "service.reloaded"})
        return "reloaded"

    # The control socket

    async def command(self, command: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """Answers one request. Raises UsageError for what cannot be done."""
        handlers: dict[str, Callable[[Mapping[str, Any]], Awaitable[dict[str, Any]]]] = {
            "status": self._status,
            "press": self._press,
            "answer": self._action,
            "hangup": self._action,
            "open": self._open,
            "reload": self._reload_now,
            "privacy": self._privacy,
            "tamper": self._tamper,
            "snapshot": self._snapshot,
            "clip": self._clip,
        }
        handler = handlers.get(command)
        if handler is None:
            raise UsageError(f"unknown command {command!r}: use {', '.join(handlers)}")
        return await handler({**args, "command": command})

    async def _status(self, args: Mapping[str, Any]) -> dict[str, Any]:
        status = self.node.status()
        return {"line": status_line(status), **status}

    async def _press(self, args: Mapping[str, Any]) -> dict[str, Any]:
        button = args.get("button")
        self.node.press(None if button is None else str(button))
        return {}

    async def _action(self, args: Mapping[str, Any]) -> dict[str, Any]:
        self.node.intercom.action(str(args["command"]), "control socket")
        return {}

    async def _open(self, args: Mapping[str, Any]) -> dict[str, Any]:
        door = str(args.get("door", ""))
        await self.node.open_door(door)
        return {"result": f"{door} is released"}

    async def _tamper(self, args: Mapping[str, Any]) -> dict[str, Any]:
        if args.get("state") not in (None, "clear"):
            raise UsageError("a tamper alarm can be cleared: edge-node tamper clear")
        tamper = self.node.tamper
        return {"result": tamper.clear() if args.get("state") == "clear" else tamper.described() or "all is shut"}

    async def _privacy(self, args: Mapping[str, Any]) -> dict[str, Any]:
        state = args.get("state")
        if state not in ("on", "off", None):
            raise UsageError("privacy is on or off: say which")
        if state is not None:
            await self.node.set_privacy(state == "on")
        on = self.node.private
        told = "privacy is on: camera and microphone are shut" if on else "privacy is off: camera and microphone work"
        return {"result": told, "on": on}

    async def _snapshot(self, args: Mapping[str, Any]) -> dict[str, Any]:
        shot = await self.node.snapshot(MAX_SNAPSHOT_BYTES)
        jpeg = base64.b64encode(shot.jpeg).decode()
        return {"jpeg": jpeg, "width_px": shot.width_px, "height_px": shot.height_px, "age_s": round(shot.age_s, 3)}

    async def _clip(self, args: Mapping[str, Any]) -> dict[str, Any]:
        recorder = self.node.clips
        try:
            match args.get("what"):
                case "list":
                    clips = await asyncio.to_thread(recorder.clips)
                    return {"clips": [clip.told() for clip in clips[-MAX_CLIPS:]], "recording": recorder.recording}
                case "now":
                    recorder.press("asked")
                    return {"result": "a clip is being recorded"}
                case "delete":
                    await asyncio.to_thread(recorder.delete, str(args.get("name", "")))
                    return {}
                case _:
                    raise UsageError("clip does list, now or delete: say which")
        except OSError as err:
            raise RetryLater(f"the clips cannot be reached ({err.strerror}): check clip.directory") from None

    async def _reload_now(self, args: Mapping[str, Any]) -> dict[str, Any]:
        if self.node.in_call:
            self._reload_soon()
            return {"result": "the new settings apply when the call ends"}
        self._reload_soon()
        assert self._reloading is not None
        return {"result": await asyncio.shield(self._reloading)}
