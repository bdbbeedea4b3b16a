"""The simulated world of a node: a hub with its network, a camera, a sound card, a panel, a clock that jumps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from edge_node.dsp.pcm import Pcm, silence
from edge_node.errors import DeviceLost, SourceLost
from edge_node.ports import BLOCK_FRAMES, VIDEO_CLOCK, AccessUnit, VideoSink, WireClosed
from edge_node.protocol.grants import EVERYTHING, Grant
from edge_node.protocol.hub import HubMachine
from edge_node.protocol.hub_events import Close, Connected, Disconnected, HubEvent, Received, SendText
from edge_node.protocol.names import WsCloseCode
from tests.bench.soak.gate import Gate

BEAT_S = 0.5
"""Pictures and blocks come slower than real ones: often enough to count as alive."""
MAX_WAITING = 4096


class JumpyClock:
    """ports.Clock on the loop's time; `shift_s` is how wrong the wall clock is."""

    def __init__(self, wall: float = 1_800_000_000.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._wall = wall
        self.shift_s = 0.0

    def monotonic(self) -> float:
        return 1000.0 + self._loop.time()

    def wall(self) -> float:
        return max(0.0, self._wall + self._loop.time() + self.shift_s)


class Network:
    """The hub's machine behind sockets in memory; `hub` and `wifi` say whether they are there, `silent` that nothing
    passes although nobody closed."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._machine = HubMachine()
        self._numbers = count(1)
        self._wires: dict[int, Wire] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._wall = JumpyClock()
        self.gate: Gate | None = None
        """What the node's tokens are worth; without one nobody comes in over the Wi-Fi."""
        self.hub = self.wifi = True

    async def connect_node(self, url: str) -> Wire:
        """ports.Connect of the node: over the Wi-Fi."""
        if not self.wifi:
            raise WireClosed(1006, "the Wi-Fi is down")
        if not self.hub:
            raise WireClosed(1006, "the hub is down")
        grant = self.gate.grant(url) if self.gate else None
        if grant is None:
            raise WireClosed(WsCloseCode.INVALID_TOKEN, "this token is not valid here")
        return self._connect(grant, over_wifi=True)

    def connect_resident(self, peer_id: str) -> Callable[[str], Any]:
        """ports.Connect of somebody elsewhere."""

        async def connect(url: str) -> Wire:
            return self._connect(Grant(peer_id, (EVERYTHING,)), over_wifi=False)

        return connect

    def _connect(self, grant: Grant, *, over_wifi: bool) -> Wire:
        if not self.hub:
            raise WireClosed(1006, "the hub is down")
        wire = Wire(self, next(self._numbers), over_wifi)
        self._wires[wire.conn] = wire
        wall = self._wall.wall()
        expires_in_s = None if grant.expires_at is None else grant.expires_at - wall
        self.handle(Connected(wire.conn, grant, int(wall), expires_in_s))
        return wire

    def cut(self) -> None:
        """Breaks what goes over the Wi-Fi, as an access point does that forgets its clients."""
        for wire in [wire for wire in self._wires.values() if wire.over_wifi]:
            wire.broken(1006)

    def fall_silent(self) -> None:
        """What goes over the Wi-Fi now carries nothing any more, for ever."""
        for wire in self._wires.values():
            wire.silent = wire.over_wifi

    def kill_hub(self) -> None:
        self.hub = False
        for wire in list(self._wires.values()):
            wire.broken(1006)

    def start_hub(self) -> None:
        self._machine = HubMachine()
        if self.gate is not None:
            self.gate.restart()
        self.hub = True

    def gone(self, conn: int) -> None:
        if self._wires.pop(conn, None) is not None:
            self.handle(Disconnected(conn))

    def handle(self, event: HubEvent) -> None:
        self._apply(self._machine.handle(event, self._loop.time()))

    def _tick(self) -> None:
        self._apply(self._machine.tick(self._loop.time()))

    def _apply(self, effects: Sequence[Any]) -> None:
        for effect in effects:
            match effect:
                case SendText(to, text):
                    for conn in to:
                        if (wire := self._wires.get(conn)) is not None:
                            wire.deliver(text.decode())
                case Close(conn, code):
                    if (wire := self._wires.pop(conn, None)) is not None:
                        wire.broken(code)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := self._machine.deadline) is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Wire:
    """ports.Wire of one client."""

    def __init__(self, network: Network, conn: int, over_wifi: bool) -> None:
        self._network = network
        self._texts: asyncio.Queue[str | WireClosed] = asyncio.Queue(MAX_WAITING)
        self._closed = False
        self.conn = conn
        self.over_wifi = over_wifi
        self.silent = False

    def deliver(self, text: str) -> None:
        if not self.silent:
            self._texts.put_nowait(text)

    def broken(self, code: int) -> None:
        self._network.gone(self.conn)
        if not self._closed:
            self._closed = True
            self._texts.put_nowait(WireClosed(code, "broken"))

    async def send(self, text: str) -> None:
        if self._closed:
            raise WireClosed(1006, "closed")
        if not self.silent:
            self._network.handle(Received(self.conn, text))

    async def recv(self) -> str | bytes:
        found = await self._texts.get()
        if isinstance(found, WireClosed):
            raise found
        return found

    async def close(self, code: int = 1000, reason: str = "") -> None:
        self._closed = True
        self._network.gone(self.conn)


class Camera:
    """ports.VideoSource of coded pictures."""

    label = "test"
    demand = None

    def __init__(self, units: Sequence[bytes]) -> None:
        """`units`: pictures in Annex B form, each a keyframe."""
        self._loop = asyncio.get_running_loop()
        self._units = units
        self.here = True

    async def run(self, sink: VideoSink) -> None:
        number = 0
        while self.here:
            now = 1000.0 + self._loop.time()
            data = self._units[number % len(self._units)]
            sink.unit(AccessUnit(data, True, round(now * VIDEO_CLOCK), now))
            number += 1
            await asyncio.sleep(BEAT_S)
        raise SourceLost("the camera is gone")


class Card:
    """ports.AudioSource, ports.AudioSink: two ends of one sound card."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.here = True

    async def _beats(self, beat: Callable[[], object]) -> None:
        while self.here:
            beat()
            await asyncio.sleep(BEAT_S)
        raise DeviceLost("the sound card is gone")


class Microphone(Card):
    async def run(self, sink: Callable[[Pcm], None]) -> None:
        await self._beats(lambda: sink(silence(BLOCK_FRAMES)))


class Speaker(Card):
    async def run(self, pull: Callable[[int], Pcm]) -> None:
        await self._beats(lambda: pull(BLOCK_FRAMES))


class Panel:
    """ports.Panel without pins; counts pulses."""

    missing: Sequence[str] = ()

    def __init__(self) -> None:
        self.pulses = 0

    async def run(self, on_press: Callable[[str], None]) -> None:
        await asyncio.Event().wait()

    def show(self, led: str, pattern: str) -> None:
        return

    def pulse(self, relay: str, pulse_ms: int) -> None:
        self.pulses += 1
