"""The daemon: reloads without cutting a call, answers its control socket, gives up only when it must."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from edge_node.errors import Bug, SettingsError, UsageError
from edge_node.node.node import Node
from edge_node.node.service import Service
from edge_node.settings import Settings, from_dict
from tests.support.waiting import eventually


def settings(name: str = "Front door") -> Settings:
    return from_dict(
        {
            "node": {"id": "front-door", "name": name},
            "channel": {"name": "home/front-door", "api_key": "pk_live_12345678"},
        }
    )


class StandIn:
    """A node whose call the test begins and ends."""

    def __init__(self, given: Settings) -> None:
        self.settings = given
        self.log: list[str] = []
        self.intercom = self
        self.broken: BaseException | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    def call(self, on: bool) -> None:
        if on:
            self._idle.clear()
        else:
            self._idle.set()

    @property
    def in_call(self) -> bool:
        return not self._idle.is_set()

    async def until_idle(self) -> None:
        await self._idle.wait()

    async def start(self) -> None:
        self.log.append("start")

    async def stop(self) -> None:
        self.log.append("stop")

    def failed(self) -> BaseException | None:
        return self.broken

    def press(self, button: str | None) -> None:
        self.log.append(f"press {button}")

    async def open_door(self, door: str) -> None:
        if door != "door":
            raise UsageError(f"there is no door {door!r}")
        self.log.append("open")

    def action(self, action: str, source: str) -> None:
        self.log.append(action)

    def status(self) -> dict[str, Any]:
        return {
            "channel": {"name": "home/front-door", "state": "joined", "peers": 1, "reconnects": 0},
            "call": {"state": "idle"},
            "video": {"state": "off"},
            "degraded": [],
        }


class Manager:
    interval_s: float | None = 0.01

    def __init__(self) -> None:
        self.told: list[str] = []

    def ready(self) -> None:
        self.told.append("ready")

    def status(self, text: str) -> None:
        self.told.append(text)

    def alive(self) -> None:
        self.told.append("alive")

    def reloading(self) -> None:
        self.told.append("reloading")

    def stopping(self) -> None:
        self.told.append("stopping")


class Rig:
    def __init__(self) -> None:
        self.manager = Manager()
        self.nodes: list[StandIn] = []
        self.next: Settings | SettingsError = settings()
        self.stuck: list[str] = []
        self.service = Service(
            settings(),
            build=self._build,
            reload=self._reload,
            manager=self.manager,
            socket=None,
            stuck=lambda: self.stuck,
        )
        self.work = asyncio.create_task(self.service.run())

    def _build(self, given: Settings) -> Node:
        if given.node.name == "Nowhere":
            raise SettingsError("rule.0: no LED")
        self.nodes.append(StandIn(given))
        return cast(Node, self.nodes[-1])

    def _reload(self) -> Settings:
        if isinstance(self.next, SettingsError):
            raise self.next
        return self.next

    async def __aenter__(self) -> Rig:
        await eventually(lambda: "alive" in self.manager.told)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.service.stop()
        await self.work
        assert self.manager.told[-1] == "stopping"
        assert self.nodes[-1].log[-1] == "stop"


async def test_new_settings_take_the_place_of_the_old_ones() -> None:
    async with Rig() as rig:
        assert "on home/front-door, 1 other here, no call, video off" in rig.manager.told
        assert await rig.service.command("reload", {}) == {"result": "the settings are the same"}
        rig.next = settings("Back door")
        assert await rig.service.command("reload", {}) == {"result": "reloaded"}
        assert [node.settings.node.name for node in rig.nodes] == ["Front door", "Back door"]
        assert rig.nodes[0].log == ["start", "stop"]


async def test_wrong_settings_change_nothing() -> None:
    async with Rig() as rig:
        rig.next = SettingsError("video.fps is 0")
        assert await rig.service.command("reload", {}) == {"result": "not reloaded: video.fps is 0"}
        assert len(rig.nodes) == 1
        assert rig.manager.told.count("ready") == 2, "a reload that changes nothing ends, too"


async def test_settings_of_which_no_node_can_be_built_leave_the_old_one_alone() -> None:
    async with Rig() as rig:
        rig.next = settings("Nowhere")
        assert await rig.service.command("reload", {}) == {"result": "not reloaded: rule.0: no LED"}
        assert rig.nodes[0].log == ["start"]


async def test_a_reload_waits_for_the_end_of_the_call() -> None:
    async with Rig() as rig:
        rig.nodes[0].call(True)
        rig.next = settings("Back door")
        answer = await rig.service.command("reload", {})
        assert answer == {"result": "the new settings apply when the call ends"}
        assert len(rig.nodes) == 1
        rig.nodes[0].call(False)
        await eventually(lambda: len(rig.nodes) == 2)
        await eventually(lambda: rig.nodes[1].log == ["start"])


async def test_commands_reach_the_node_and_wrong_ones_are_told() -> None:
    async with Rig() as rig:
        await rig.service.command("press", {})
        await rig.service.command("press", {"button": "call"})
        await rig.service.command("answer", {})
        await rig.service.command("hangup", {})
        await rig.service.command("open", {"door": "door"})
        status = await rig.service.command("status", {})
        assert status["line"].startswith("on home/front-door")
        assert rig.nodes[0].log == ["start", "press None", "press call", "answer", "hangup", "open"]
        with pytest.raises(UsageError, match="no door"):
            await rig.service.command("open", {"door": "gate"})
        with pytest.raises(UsageError, match="unknown command"):
            await rig.service.command("dance", {})


async def test_a_node_beyond_repair_ends_the_daemon_in_order() -> None:
    rig = Rig()
    await eventually(lambda: "alive" in rig.manager.told)
    rig.nodes[0].broken = RuntimeError("a keeper broke")
    with pytest.raises(Bug, match="a keeper broke"):
        await rig.work
    assert rig.manager.told[-1] == "stopping"
    assert rig.nodes[0].log[-1] == "stop"


async def test_a_stuck_thread_starves_the_watchdog_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with Rig() as rig:
        await eventually(lambda: "alive" in rig.manager.told)
        rig.stuck = ["video-encoder"]
        line = "stuck: video-encoder; the watchdog starts the node again"
        await eventually(lambda: rig.manager.told.count(line) >= 3)
        assert "alive" not in rig.manager.told[rig.manager.told.index(line) :]
        assert caplog.text.count("waiting for the watchdog") == 1
        rig.stuck = []
        await eventually(lambda: rig.manager.told[-1] != line)
