"""Privacy closes the devices, not only the tracks, and is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edge_node.aio.clock import SystemClock
from edge_node.call.indicator import Indicator
from edge_node.devices.panel import GpioPanel
from edge_node.dsp.pcm import Pcm
from edge_node.errors import RetryLater, SourceLost, UsageError
from edge_node.host.probes import LinuxProbe
from edge_node.media.microphone import ToneMicrophone
from edge_node.media.pattern import PatternSource
from edge_node.node import node as node_module
from edge_node.node.build import Devices, assemble, wiring
from edge_node.node.node import Node
from edge_node.node.privacy import MARKER, Privacy, shut_while_private
from edge_node.node.service import Service
from edge_node.node.status import status_line
from edge_node.node.supervisor import Part, PartState, Report, Supervisor
from edge_node.ports import Demand, VideoSink, WireClosed
from edge_node.settings import Settings, from_dict
from tests.support.clock import ManualClock
from tests.support.waiting import eventually


@dataclass
class Handles:
    """Which devices are open, as the kernel would know it."""

    open: set[str] = field(default_factory=set)
    opened: int = 0
    stuck: bool = False

    @asynccontextmanager
    async def hold(self, name: str) -> AsyncIterator[None]:
        self.open.add(name)
        self.opened += 1
        try:
            yield
        finally:
            if self.stuck:
                await asyncio.shield(asyncio.Event().wait())
            self.open.discard(name)


class Camera:
    label = "test"
    demand: Demand | None = None

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._source = PatternSource(160, 96, 30, SystemClock())

    async def run(self, sink: VideoSink) -> None:
        async with self._handles.hold("camera"):
            await self._source.run(sink)


class Microphone:
    label = "test"

    def __init__(self, handles: Handles) -> None:
        self._handles = handles
        self._source = ToneMicrophone()

    async def run(self, sink: Callable[[Pcm], None]) -> None:
        async with self._handles.hold("microphone"):
            await self._source.run(sink)


async def no_network(url: str) -> Any:
    raise WireClosed(1006, "no network in this test")


SETTINGS = {
    "node": {"id": "front-door"},
    "channel": {"url": "ws://127.0.0.1:1", "name": "home/front-door", "api_key": "pk_live_0123456789"},
    "video": {"source": "test", "width_px": 160, "height_px": 96},
    "audio": {"speaker": "none"},
    "gpio": {
        "driver": "mock",
        "button": [{"name": "quiet", "pin": "GPIO5", "action": "mute"}],
        "led": [{"name": "status", "pin": "GPIO27"}],
    },
}


@asynccontextmanager
async def a_node(handles: Handles, state_dir: Path | None) -> AsyncIterator[Node]:
    settings: Settings = from_dict(SETTINGS)
    panel = GpioPanel(wiring(settings), "mock")
    devices = Devices(
        Camera(handles), Microphone(handles), None, panel, LinuxProbe(state_dir=None), no_network, state_dir
    )
    node = assemble(settings, devices, SystemClock())
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


def live(node: Node) -> bool:
    status = node.status()
    return bool(status["video"]["state"] == "live" and status["audio"]["mic_level_dbfs"] is not None)


async def test_the_button_closes_the_devices_and_the_second_press_opens_them(tmp_path: Path) -> None:
    handles = Handles()
    async with a_node(handles, tmp_path) as node:
        await eventually(lambda: live(node))
        node.press("quiet")
        await eventually(lambda: not handles.open)
        await eventually(lambda: node.status()["parts"]["camera"]["state"] == "off")
        status = node.status()
        assert status["privacy"] and status["video"]["state"] == status["audio"]["state"] == "private"
        assert status["parts"]["microphone"] == {"state": "off", "reason": "privacy is on", "restarts": 0}
        assert "privacy on" in status_line(status) and node.outputs.shown("status") == "double"
        assert node.sample(0).video.state == "private"
        await eventually(lambda: (tmp_path / MARKER).exists())
        node.press("quiet")
        await eventually(lambda: handles.open == {"camera", "microphone"} and live(node))
        await eventually(lambda: not (tmp_path / MARKER).exists())
        assert node.outputs.indicator is not Indicator.PRIVATE


async def test_it_survives_a_restart_without_the_devices_being_opened_at_all(tmp_path: Path) -> None:
    handles = Handles()
    async with a_node(handles, tmp_path) as node:
        await eventually(lambda: live(node))
        await node.set_privacy(True)
        assert not handles.open, "closed by the time the command is answered"
        await eventually(lambda: (tmp_path / MARKER).exists())
    handles = Handles()
    async with a_node(handles, tmp_path) as node:
        await eventually(lambda: node.status()["parts"]["camera"]["state"] == "off")
        assert handles.opened == 0 and node.private
        await node.set_privacy(False)
        await eventually(lambda: live(node))


async def test_a_device_that_does_not_let_go_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_module, "PRIVACY_DEADLINE_S", 0.2)
    handles = Handles()
    async with a_node(handles, None) as node:
        await eventually(lambda: live(node))
        handles.stuck = True
        with pytest.raises(RetryLater, match="does not let go"):
            await node.set_privacy(True)
        handles.stuck = False


async def test_a_state_that_cannot_be_kept_is_degraded_not_fatal(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    privacy = Privacy(in_the_way / "state")
    supervisor = Supervisor([Part("privacy", privacy.run)], ManualClock())
    supervisor.start()
    await eventually(lambda: supervisor.health["privacy"].state is PartState.UP)
    privacy.set_muted(True)
    await eventually(lambda: supervisor.health["privacy"].state is PartState.DEGRADED)
    assert "forgotten at a restart" in supervisor.degraded()[0]
    assert privacy.on
    await supervisor.stop()


async def test_a_part_that_fails_by_itself_or_while_it_is_shut() -> None:
    privacy = Privacy()
    changes: list[bool] = []
    privacy.observe(changes.append)

    async def failing(report: Report) -> None:
        try:
            report.up()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise SourceLost("pulled out just then") from None

    async def lost(report: Report) -> None:
        raise SourceLost("no camera: plug it in")

    parts = [Part("camera", failing), Part("microphone", lost)]
    supervisor = Supervisor([shut_while_private(part, privacy) for part in parts], ManualClock())
    supervisor.start()
    await eventually(lambda: supervisor.health["microphone"].state is PartState.DEGRADED)
    await eventually(lambda: supervisor.health["camera"].state is PartState.UP)
    privacy.set_muted(True)
    privacy.set_muted(True)
    await eventually(lambda: supervisor.health["camera"].state is PartState.OFF)
    assert changes == [True]
    await supervisor.stop()


async def test_the_command_says_what_is() -> None:
    handles = Handles()
    async with a_node(handles, None) as node:
        service = Service(node.settings, build=lambda _: node, reload=from_dict, manager=None, socket=None)  # type: ignore[arg-type]
        service._node = node
        await eventually(lambda: live(node))
        assert (await service.command("privacy", {}))["on"] is False
        assert (await service.command("privacy", {"state": "on"}))["on"] is True
        assert not handles.open
        assert "work" in (await service.command("privacy", {"state": "off"}))["result"]
        with pytest.raises(UsageError):
            await service.command("privacy", {"state": "perhaps"})
