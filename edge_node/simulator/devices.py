"""Devices of the simulated world: the real ones, with a switch in front."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from edge_node.errors import SourceLost
from edge_node.ports import AudioSource, Demand, Probe, VideoSink, VideoSource, Wire, WireClosed

if TYPE_CHECKING:
    from edge_node.ports import Pcm

T = TypeVar("T")

HOT_C = 84.0
"""Above the soft limit of 80 °C at which a Raspberry Pi slows down (raspberrypi.com, vcgencmd get_throttled, bit 3)."""


class Switch:
    """Something that is on or off, and can be waited for; only on the event loop."""

    def __init__(self, on: bool = True) -> None:
        self._on = on
        self._changed = asyncio.Event()

    @property
    def on(self) -> bool:
        return self._on

    def set(self, on: bool) -> None:
        self._on = on
        self._changed.set()
        self._changed = asyncio.Event()

    async def until_off(self) -> None:
        while self._on:
            await self._changed.wait()


async def while_on(switch: Switch, work: Awaitable[T], when_off: Exception) -> T:
    """The result of `work`; raises `when_off` (and ends the work) as soon as the switch goes off."""
    task = asyncio.ensure_future(work)
    off = asyncio.ensure_future(switch.until_off())
    try:
        await asyncio.wait([task, off], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise when_off
    finally:
        for part in (task, off):
            part.cancel()
        await asyncio.wait([task, off])


class SwitchedCamera:
    """A video source that can be unplugged."""

    def __init__(self, source: VideoSource, switch: Switch) -> None:
        self._source = source
        self._switch = switch

    @property
    def label(self) -> str:
        return self._source.label

    @property
    def demand(self) -> Demand | None:
        return self._source.demand

    def set_controls(self, controls: Mapping[str, Any]) -> None:
        """Handed on to a camera that has controls."""
        tell = getattr(self._source, "set_controls", None)
        if tell is not None:
            tell(controls)

    async def run(self, sink: VideoSink) -> None:
        gone = SourceLost("the simulated camera is unplugged: switch it on in the virtual panel")
        if not self._switch.on:
            raise gone
        await while_on(self._switch, self._source.run(sink), gone)


class SwitchedMicrophone:
    """A microphone that hears nothing while its switch is off."""

    def __init__(self, source: AudioSource, switch: Switch) -> None:
        self._source = source
        self._switch = switch

    @property
    def label(self) -> str:
        return self._source.label

    async def run(self, sink: Callable[[Pcm], None]) -> None:
        await self._source.run(lambda block: sink(block if self._switch.on else block * 0))


class SwitchedNetwork:
    """Opens signalling sockets while the Wi-Fi is there, and cuts them when it goes.

    Only signalling is cut: media between two processes of one machine takes no Wi-Fi.
    """

    def __init__(self, connect: Callable[[str], Awaitable[Wire]], switch: Switch) -> None:
        self._connect = connect
        self._switch = switch

    async def __call__(self, url: str) -> Wire:
        gone = WireClosed(1006, "the simulated Wi-Fi is down")
        if not self._switch.on:
            raise gone
        return _SwitchedWire(await while_on(self._switch, self._connect(url), gone), self._switch)


class _SwitchedWire:
    def __init__(self, wire: Wire, switch: Switch) -> None:
        self._wire = wire
        self._switch = switch

    async def send(self, text: str) -> None:
        if not self._switch.on:
            raise WireClosed(1006, "the simulated Wi-Fi is down")
        await self._wire.send(text)

    async def recv(self) -> str | bytes:
        try:
            return await while_on(self._switch, self._wire.recv(), WireClosed(1006, "the simulated Wi-Fi went down"))
        except WireClosed:
            await self._wire.close()
            raise

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._wire.close(code, reason)


class HeatedProbe:
    """This machine's readings, with a hot processor while the switch is on."""

    def __init__(self, probe: Probe, hot: Switch) -> None:
        self._probe = probe
        self._hot = hot

    def read(self) -> Mapping[str, Any]:
        readings = dict(self._probe.read())
        if self._hot.on:
            readings |= {"soc_temp_c": HOT_C, "throttled": ["soft_temp_limit"]}
        return readings

    def rss_mb(self) -> float | None:
        return self._probe.rss_mb()
