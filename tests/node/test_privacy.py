"""Privacy closes the devices, not only the tracks, and is remembered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from edge_node.call.indicator import Indicator
from edge_node.errors import RetryLater, SourceLost, UsageError
from edge_node.node import node as node_module
from edge_node.node import privacy as privacy_module
from edge_node.node.privacy import MARKER, Privacy, shut_while_private
from edge_node.node.service import Service
from edge_node.node.status import status_line
from edge_node.node.supervisor import Part, PartState, Report, Supervisor
from edge_node.settings import from_dict
from tests.support.clock import ManualClock
from tests.support.door_node import Handles, a_node, live
from tests.support.waiting import eventually


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


async def test_what_a_disk_does_not_take_now_it_gets_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy_module, "TRY_AGAIN_S", 0.02)
    state = tmp_path / "state"
    state.write_text("a file where a directory has to be")
    privacy = Privacy(state)
    privacy.set_muted(True)
    supervisor = Supervisor([Part("privacy", privacy.run)], ManualClock())
    supervisor.start()
    await eventually(lambda: any("forgotten at a restart" in reason for reason in supervisor.degraded()))
    state.unlink()
    await eventually(lambda: not supervisor.degraded())
    assert Privacy(state).on
    await supervisor.stop()
