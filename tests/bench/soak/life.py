"""One node's life in simulated time: faults come and go, what must hold is checked every few seconds."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from edge_node.aio.own_threads import OwnThreads
from edge_node.errors import EdgeNodeError
from edge_node.host.enrolment import device_key
from edge_node.host.probes import LinuxProbe
from edge_node.node.build import assemble
from edge_node.node.machinery import Devices
from edge_node.node.node import Node
from edge_node.node.privacy import MARKER, TRY_AGAIN_S
from edge_node.node.service import Service
from edge_node.settings import Settings, load
from edge_node.telemetry.ring import DEFAULT_SIZE
from tests.bench.soak.disk import Disk
from tests.bench.soak.gate import Gate
from tests.bench.soak.resident import CHANNEL, Resident
from tests.bench.soak.schedule import CALM_S, HOUR_S, Fault, Kind
from tests.bench.soak.world import Camera, JumpyClock, Microphone, Network, Panel, Speaker
from tests.support.h264 import make_units
from tests.support.virtual_time import VirtualTimeLoop

LOOK_EVERY_S = 5.0
PRESS_EVERY_S = 420.0
BACK_S = 15.0
"""Within this the node uses again what returned; its own longest pause between two tries is 4 s."""
SILENT_S = 80.0
"""A connection that lies dead is noticed by the client's inactivity limit, 60 s."""
RESTARTS_PER_LOOK = 4
"""Two parts in their backoff, each at most every 4 s after its first tries."""
TELEMETRY = "telemetry/front-door"

SETTINGS: dict[str, Any] = {
    "node": {"id": "front-door", "name": "Front door"},
    "channel": {"enrolled": True, "name": CHANNEL},
    "video": {"source": "test"},
    "gpio": {
        "driver": "mock",
        "button": [{"name": "call", "pin": "GPIO17", "action": "call"}],
        "relay": [{"name": "door", "pin": "GPIO22"}],
    },
    "door": {"allow": ["resident-*"]},
    "telemetry": {"channel": TELEMETRY},
}

CLIPS = {"enabled": True, "pre_s": 2, "post_s": 5, "max_mb": 10}


@dataclass(frozen=True, slots=True)
class Size:
    """What a process holds, at one moment of calm."""

    at_s: float
    objects: int
    blocks: int
    rss_mb: float
    tasks: int
    threads: int
    files: int


@dataclass(slots=True)
class Findings:
    """What the life came to; `wrong` has one line for each thing that must not be, the first of each kind."""

    wrong: dict[str, str] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    sizes: list[Size] = field(default_factory=list)
    possible_s: float = 0.0
    online_s: float = 0.0
    deepest: int = 0
    presses: int = 0
    starts: int = 0
    admitted: int = 0
    restarts: int = 0
    lines: int = 0
    line_bytes: int = 0


class Inline(ThreadPoolExecutor):
    """Runs what is for threads at once: no time passes meanwhile."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except BaseException as err:
            done.set_exception(err)
        return done


async def at_once(threads: OwnThreads, function: Callable[[], Any]) -> Any:
    """Instead of a thread, whose deadlines simulated time would leap over."""
    return function()


class Manager:
    """The service manager; `alive_at` is the last sign of life."""

    interval_s: float | None = 15.0

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.alive_at = self._loop.time()

    def ready(self) -> None: ...

    def status(self, text: str) -> None: ...

    def alive(self) -> None:
        self.alive_at = self._loop.time()

    def reloading(self) -> None: ...

    def stopping(self) -> None: ...


class Journal(logging.Handler):
    """Counts lines."""

    def __init__(self, findings: Findings) -> None:
        super().__init__()
        self._findings = findings

    def emit(self, record: logging.LogRecord) -> None:
        self._findings.lines += 1
        self._findings.line_bytes += len(record.getMessage())


class Life:
    """The node with its world."""

    def __init__(self, disk: Disk, *, clips: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(Inline())
        self.findings = Findings()
        self._disk = disk
        self._clock = JumpyClock()
        self._network = Network()
        self._camera = Camera([unit.data for unit in make_units(4, width_px=160, height_px=128, gop=1)])
        self._microphone, self._speaker, self._panel = Microphone("mic"), Speaker("speaker"), Panel()
        self._files = TemporaryDirectory()
        self._gate = Gate(Path(self._files.name) / "enrolment.json", JumpyClock(), self._reachable)
        self._gate.claim("front-door", disk.folder)
        self._network.gate = self._gate
        channel = {**SETTINGS["channel"], "url": self._gate.url}
        given = {**SETTINGS, "channel": channel, "clip": CLIPS if clips else {}}
        self._settings: Settings = load(None, env={}, defaults=given)
        self._resident = Resident(self._network, self._clock, TELEMETRY)
        self._key = device_key(disk.folder).public
        self._active: Counter[Kind] = Counter()
        self._ended: dict[Kind, float] = dict.fromkeys(Kind, -1e9)
        self._service: Service | None = None
        self._running: asyncio.Task[None] | None = None
        self._manager = Manager()
        self._pending: list[asyncio.Task[None]] = []
        self._private = False
        self._restarts = 0
        self._pressed_at = 0.0

    def _reachable(self) -> bool:
        return self._network.hub and self._network.wifi

    # The node

    def _build(self, settings: Settings) -> Node:
        devices = Devices(
            camera=self._camera,
            microphone=self._microphone,
            speaker=self._speaker,
            panel=self._panel,
            probe=LinuxProbe(state_dir=self._disk.folder),
            connect=self._network.connect_node,
            state_dir=self._disk.folder,
        )
        return assemble(settings, devices, self._clock)

    async def _start(self) -> None:
        self.findings.starts += 1
        self._manager = Manager()
        self._service = Service(
            self._settings,
            build=self._build,
            reload=lambda: self._settings,
            manager=self._manager,
            socket=None,
            stuck=lambda: (),
        )
        kept = self._marker_right()
        self._running = asyncio.create_task(self._service.run(), name="soak:service")
        await asyncio.sleep(0.1)
        if self._service.node.private is not self._private:
            self._must("privacy survives a power cut", not kept)
            self._private = self._service.node.private
        self._restarts = 0

    async def _stop(self) -> None:
        assert self._service is not None and self._running is not None
        self._service.stop()
        await asyncio.wait([self._running])
        self._must("the service ends in order", self._running.exception() is None)
        self._service = self._running = None

    # What happens

    async def run(self, hours: float, faults: Sequence[Fault]) -> Findings:
        logging.getLogger().addHandler(journal := Journal(self.findings))
        logging.getLogger().setLevel(logging.INFO)
        await self._start()
        await self._resident.start()
        self._pending = [asyncio.create_task(self._fault(fault), name="soak:fault") for fault in faults]
        try:
            await self._look_until(hours * HOUR_S)
            await asyncio.gather(*self._pending)
            self._must("the identity is intact", device_key(self._disk.folder).public == self._key)
            self.findings.admitted = self._gate.admitted
        finally:
            for task in self._pending:
                task.cancel()
            if self._service is not None:
                await self._stop()
            await self._resident.close()
            self._network.close()
            self._gate.close()
            self._files.cleanup()
            logging.getLogger().removeHandler(journal)
        return self.findings

    async def _fault(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s - self._loop.time())
        kind = fault.kind
        self._active[kind] += 1
        self.findings.faults[kind.value] += 1
        if self._active[kind] == 1:
            await self._set(kind, True, fault.shift_s)
        await asyncio.sleep(max(0.0, fault.at_s + fault.lasts_s - self._loop.time()))
        self._active[kind] -= 1
        if not self._active[kind]:
            await self._set(kind, False, 0.0)
            self._ended[kind] = self._loop.time()

    async def _set(self, kind: Kind, on: bool, shift_s: float) -> None:
        handlers: dict[Kind, Callable[[bool], Awaitable[None] | None]] = {
            Kind.WIFI: self._wifi,
            Kind.SILENCE: self._silence,
            Kind.HUB: lambda down: self._network.kill_hub() if down else self._network.start_hub(),
            Kind.CAMERA: lambda gone: setattr(self._camera, "here", not gone),
            Kind.SOUND: self._sound,
            Kind.DISK_FULL: self._disk.set_full,
            Kind.DISK_READ_ONLY: self._disk.set_read_only,
            Kind.CLOCK: lambda wrong: setattr(self._clock, "shift_s", shift_s),
            Kind.PRIVACY: self._privacy,
            Kind.POWER: lambda off: self._stop() if off else self._start(),
        }
        done = handlers[kind](on)
        if done is not None:
            await done

    def _wifi(self, down: bool) -> None:
        if down:
            self._network.cut()
        self._network.wifi = not (down or self._active[Kind.SILENCE])

    def _silence(self, silent: bool) -> None:
        if silent:
            self._network.fall_silent()
        self._network.wifi = not (silent or self._active[Kind.WIFI])

    def _sound(self, gone: bool) -> None:
        self._microphone.here = self._speaker.here = not gone

    async def _privacy(self, on: bool) -> None:
        if self._service is None:
            return
        try:
            await self._service.command("privacy", {"state": "on" if on else "off"})
            self._private = on
        except EdgeNodeError:
            self._private = self._service.node.private if self._service is not None else self._private

    # What must hold

    async def _look_until(self, end_s: float) -> None:
        while self._loop.time() < end_s:
            await asyncio.sleep(LOOK_EVERY_S)
            self._disk.look()
            self._must("the world itself works", not any(t.done() and t.exception() for t in self._pending))
            if self._service is not None and self._running is not None:
                self._must("the service runs", not self._running.done())
                self._look(self._service.node)
            hour_left_s = -self._loop.time() % HOUR_S
            if hour_left_s < LOOK_EVERY_S or end_s - self._loop.time() < LOOK_EVERY_S:
                self.findings.sizes.append(self._size())

    def _look(self, node: Node) -> None:
        status = node.status()
        joined = status["channel"]["state"] == "joined"
        if self._well_for(BACK_S, Kind.WIFI, Kind.HUB, Kind.POWER) and self._well_for(SILENT_S, Kind.SILENCE):
            self.findings.possible_s += LOOK_EVERY_S
            self.findings.online_s += LOOK_EVERY_S * joined
            self._must("online when it can be", joined, status["channel"])
            self._must("telemetry is told when it can be", node.reporter.waiting <= 2, node.reporter.waiting)
        if not self._private and self._well_for(BACK_S, Kind.CAMERA, Kind.POWER, Kind.PRIVACY):
            self._must("the picture is live when there is a camera", status["video"]["state"] == "live")
        if not self._private and self._well_for(BACK_S, Kind.SOUND, Kind.POWER, Kind.PRIVACY):
            self._must("sound is live when there is a card", status["audio"]["state"] == "live")
        disk = (Kind.DISK_FULL, Kind.DISK_READ_ONLY, Kind.POWER, Kind.PRIVACY)
        if self._well_for(BACK_S + TRY_AGAIN_S, *disk):
            self._must("privacy is remembered", self._marker_right(), self._private)
        if self._all_well():
            self._must("nothing is degraded when all is well", not status["degraded"], status["degraded"])
            self._press(node)
        self._must("the watchdog is fed", self._loop.time() - self._manager.alive_at <= 15)
        restarts = node.supervisor.restarts - self._restarts
        self._restarts = node.supervisor.restarts
        self.findings.restarts += restarts
        limit = 0 if self._all_well() else RESTARTS_PER_LOOK * len(status["parts"])
        self._must("no restart loop", restarts <= limit, status["parts"])
        self.findings.deepest = max(self.findings.deepest, node.reporter.waiting)
        self._must("queues are bounded", node.reporter.waiting <= DEFAULT_SIZE)

    def _press(self, node: Node) -> None:
        now = self._loop.time()
        if now - self._pressed_at >= PRESS_EVERY_S and now - self._resident.connected_at > BACK_S:
            if self._pressed_at:
                self._must("somebody answers", self._resident.answered >= self.findings.presses)
            self._pressed_at = now
            self.findings.presses += 1
            node.press(None)

    def _well_for(self, seconds: float, *kinds: Kind) -> bool:
        now = self._loop.time()
        return now > seconds and all(not self._active[kind] and now - self._ended[kind] > seconds for kind in kinds)

    def _all_well(self) -> bool:
        return self._well_for(SILENT_S, *Kind)

    def _marker_right(self) -> bool:
        return (self._disk.folder / MARKER).exists() is self._private

    def _must(self, what: str, holds: bool, seen: object = "") -> None:
        if not holds and what not in self.findings.wrong:
            going = ", ".join(kind.value for kind, count in self._active.items() if count) or "all is well"
            self.findings.wrong[what] = f"{what}: not at {self._loop.time():.0f} s ({going}) {seen}".rstrip()

    def _size(self) -> Size:
        gc.collect()
        tasks = len(asyncio.all_tasks(self._loop))
        waiting = sum(task.get_name() == "soak:fault" for task in asyncio.all_tasks(self._loop))
        return Size(
            self._loop.time(),
            len(gc.get_objects()),
            sys.getallocatedblocks(),
            LinuxProbe().rss_mb() or 0.0,
            tasks - waiting,
            threading.active_count(),
            len(os.listdir("/proc/self/fd")),
        )


def live(hours: float, faults: Sequence[Fault], folder: Path, *, clips: bool) -> tuple[Findings, Disk, Resident]:
    """Runs a whole life on a loop of its own, whose time does not wait. Clips encode sound: that takes longer."""
    disk = Disk(folder)

    async def run() -> tuple[Findings, Disk, Resident]:
        life = Life(disk, clips=clips)
        return await life.run(hours, faults), disk, life._resident

    assert CALM_S > SILENT_S
    try:
        with patch.object(OwnThreads, "call", at_once), asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return runner.run(run())
    finally:
        disk.close()
