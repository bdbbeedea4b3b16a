"""One node: its parts, its call, what is known of it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edge_node.call.effects import CallView, Phase
from edge_node.errors import DeviceMissing, RetryLater, UsageError
from edge_node.node.intercom import Intercom
from edge_node.node.outputs import NodeOutputs
from edge_node.node.privacy import CAPTURES
from edge_node.node.publishing import Publishing
from edge_node.node.reporter import Reporter
from edge_node.node.start import NORMAL, Start
from edge_node.node.supervisor import Part, PartState, Supervisor
from edge_node.ports import Clock, Probe
from edge_node.settings import Settings
from edge_node.telemetry.sample import Sample
from edge_node.telemetry.sample import build as build_sample
from edge_node.version import __version__

log = logging.getLogger(__name__)

STATS_EVERY_S = 2.0
PRIVACY_DEADLINE_S = 8.0
PRIVACY_LOOK_S = 0.02


class Readings(Protocol):
    """What the media engine knows of itself, as objects of the telemetry sample."""

    def video(self) -> Mapping[str, Any]: ...

    def audio(self) -> Mapping[str, Any]: ...

    async def close(self) -> None:
        """Ends the tracks; after the parts have stopped."""
        ...


class Recorder(Protocol):
    """Clips on this machine's disk."""

    @property
    def recording(self) -> bool: ...

    def press(self, reason: str) -> None: ...

    def clips(self) -> Sequence[Any]:
        """The oldest first, each with told(); blocks."""
        ...

    def delete(self, name: str) -> None: ...


class TamperGuard(Protocol):
    """What keeps the doors shut after somebody opened the case."""

    def described(self) -> str | None: ...

    def clear(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Pieces:
    """What build.py joins."""

    settings: Settings
    clock: Clock
    intercom: Intercom
    outputs: NodeOutputs
    publishing: Publishing
    readings: Readings
    probe: Probe
    devices: Sequence[Part]
    make_telemetry_client: Callable[[], Any]
    take_snapshot: Callable[[int], Awaitable[Any]] | None = None
    """take(max_bytes) gives a JPEG with its size and age; None without a camera."""
    clips: Recorder | None = None
    tamper: TamperGuard | None = None
    start: Start = NORMAL


class Node:
    """Starts and stops everything in order."""

    def __init__(self, pieces: Pieces) -> None:
        settings = self.settings = pieces.settings
        self._pieces = pieces
        self._clock = pieces.clock
        self._started_at = pieces.clock.monotonic()
        self._update = self._news = pieces.start.update
        self.intercom = pieces.intercom
        self.outputs = pieces.outputs
        self.reporter = Reporter(
            pieces.make_telemetry_client,
            settings.telemetry.channel,
            self.sample,
            pieces.clock,
            settings.telemetry.interval_s,
        )
        # Started in this order, stopped in reverse: the channel is left first, the panel's relays are released last.
        parts = [*pieces.devices, Part("telemetry", self.reporter.run)]
        if pieces.start.safe_mode is None:
            parts.append(Part("channel", pieces.publishing.run))
        self.supervisor = Supervisor(parts, pieces.clock, on_change=self._changed)
        self._tasks: list[asyncio.Task[None]] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._observers: list[Callable[[], None]] = []
        pieces.outputs.on_call(self._call_changed)

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self.intercom.run(), name="node:intercom"),
            asyncio.create_task(self._refresh_stats(), name="node:stats"),
        ]
        self.supervisor.start()

    async def stop(self) -> None:
        await self.supervisor.stop()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=1.0)
        await self._pieces.readings.close()

    def failed(self) -> BaseException | None:
        """What broke beyond repair inside this process, or None."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (err := task.exception()) is not None:
                return err
        return self.supervisor.failed()

    # What it does

    @property
    def in_call(self) -> bool:
        return self.intercom.view.phase is not Phase.IDLE

    async def until_idle(self) -> None:
        """Returns when there is no call."""
        await self._idle.wait()

    def press(self, button: str | None) -> None:
        """As if the button was pressed; None is the first button that calls. UsageError when there is none."""
        buttons = self.settings.gpio.actions
        name = button or next((n for n, action in buttons.items() if action == "call"), None)
        if name is None and button is None:
            self.intercom.action("call", "control socket")
            return
        if name not in buttons:
            known = ", ".join(buttons) or "none is configured"
            raise UsageError(f"there is no button {button!r}; there are: {known}")
        self.intercom.press(name)

    async def open_door(self, door: str) -> None:
        """Releases a door from this machine itself, or asks the node whose call rings or talks here to do so.

        Raises UsageError when there is no such door, EdgeNodeError: not now.
        """
        doors = [r.name for r in self.settings.gpio.relay if r.door]
        if door in doors:
            self.intercom.action(f"open:{door}", "control socket")  # which keeps the record, of a refusal, too
            self.outputs.check_doors()
        elif self.intercom.view.theirs and self.in_call:
            await self.intercom.ask_door(door, "control socket")
        else:
            while_called = " while no other node rings here" if self.settings.node.role == "indoor" else ""
            known = ", ".join(doors) or "none is configured"
            raise UsageError(f"there is no door {door!r}{while_called}; there are: {known}")

    async def set_privacy(self, on: bool) -> None:
        """Shuts camera and microphone, or opens them; returns once their devices are closed. Raises RetryLater."""
        if not on and self.intercom.view.held:
            raise UsageError("the switch at the node says private: turn it first")
        self.intercom.action(f"mute:{'on' if on else 'off'}", "control socket")
        try:
            async with asyncio.timeout(PRIVACY_DEADLINE_S):
                while self.private is not on or (on and self._capturing()):  # noqa: ASYNC110  (parts tell no events)
                    await asyncio.sleep(PRIVACY_LOOK_S)
        except TimeoutError:
            raise RetryLater("a device does not let go: see `edge-node status`, or unplug it") from None

    async def snapshot(self, max_bytes: int) -> Any:
        """The picture of this moment, at most max_bytes. Raises EdgeNodeError when there is none."""
        if self._pieces.take_snapshot is None:
            raise DeviceMissing('this node has no camera (video.source = "none"): set video.source')
        if self.private:
            raise UsageError("privacy is on, so there is no picture: `edge-node privacy off` first")
        return await self._pieces.take_snapshot(max_bytes)

    @property
    def tamper(self) -> TamperGuard:
        """Raises UsageError when there is no such input."""
        if self._pieces.tamper is None:
            raise UsageError('there is no tamper contact: add a [[gpio.input]] of kind = "tamper"')
        return self._pieces.tamper

    @property
    def clips(self) -> Recorder:
        """Raises UsageError when there are to be none."""
        if self._pieces.clips is None:
            raise UsageError("clips are not enabled: set enabled = true under [clip]")
        return self._pieces.clips

    @property
    def private(self) -> bool:
        """Whether somebody shut the camera and the microphone."""
        return self.intercom.view.muted

    def _capturing(self) -> bool:
        return any(
            self.supervisor.health[name].state is not PartState.OFF for name in CAPTURES & set(self.supervisor.health)
        )

    # What is known of it

    def on_change(self, observer: Callable[[], None]) -> None:
        self._observers.append(observer)

    def changed(self) -> None:
        """A peer came or went, or the channel did."""
        self._changed()

    def _call_changed(self, view: CallView) -> None:
        if view.phase is Phase.IDLE:
            self._idle.set()
        else:
            self._idle.clear()
        self._changed()

    def _changed(self) -> None:
        publishing = self._pieces.publishing
        degraded = [name for name, h in self.supervisor.health.items() if h.state is PartState.DEGRADED]
        fault = any(name not in ("channel", "telemetry") for name in degraded)
        self.outputs.condition(
            fault=fault, online=publishing.online, peers=publishing.peers, refused=publishing.refused
        )
        self.reporter.changed()
        for observer in self._observers:
            observer()

    async def _refresh_stats(self) -> None:
        while True:
            await self._pieces.publishing.refresh_stats()
            await asyncio.sleep(STATS_EVERY_S * random.uniform(0.9, 1.1))

    def _channel(self) -> dict[str, Any]:
        publishing = self._pieces.publishing
        return {"state": publishing.state, "peers": publishing.peers, "reconnects": publishing.reconnects}

    def _call(self) -> dict[str, Any]:
        view = self.intercom.view
        return {"state": view.phase.value, "call": None if view.phase is Phase.IDLE else view.call}

    def sample(self, seq: int) -> Sample:
        """Everything, as published on the telemetry channel."""
        probe = self._pieces.probe
        news, self._news = self._news, None
        return build_sample(
            node=self.settings.node.id,
            at=self._clock.wall(),
            seq=seq,
            uptime_s=self._clock.monotonic() - self._started_at,
            interval_s=self.settings.telemetry.interval_s,
            peers=self._pieces.publishing.peer_stats,
            host=probe.read(),
            channel=self._channel(),
            video=self._pieces.readings.video(),
            audio=self._pieces.readings.audio(),
            call=self._call(),
            service={
                "version": __version__,
                "rss_mb": probe.rss_mb(),
                "restarts": self.supervisor.restarts,
                "degraded": self._degraded(),
                "update": news,
            },
        )

    def tell_update(self, sentence: str) -> None:
        """What became of the version that runs: told at once, by one sample, which waits for the network if need be."""
        self._update = self._news = sentence
        self.reporter.changed()

    def status(self) -> dict[str, Any]:
        """What `edge-node status --json` prints."""
        node = self.settings.node
        return {
            "node": {"id": node.id, "name": node.name, "role": node.role, "version": __version__},
            "uptime_s": round(self._clock.monotonic() - self._started_at, 1),
            "indicator": self.outputs.indicator.value,
            "channel": {"name": self.settings.channel.name, **self._channel()},
            "call": self._call(),
            "privacy": self.private,
            "video": dict(self._pieces.readings.video()),
            "audio": dict(self._pieces.readings.audio()),
            "parts": {
                name: {"state": h.state.value, "reason": h.reason, "restarts": h.restarts}
                for name, h in self.supervisor.health.items()
            },
            "degraded": self._degraded(),
            "safe_mode": self._pieces.start.safe_mode,
            "update": self._update,
        }

    def _degraded(self) -> list[str]:
        return [*self._pieces.start.degraded(), *self.supervisor.degraded()]
