"""Telemetry goes out in its time, and what waited goes out late."""

from __future__ import annotations

import asyncio
from typing import Any

from edge_node.errors import NotConnectedError
from edge_node.node.reporter import Reporter
from edge_node.telemetry.sample import Sample
from tests.support.clock import ManualClock


class Client:
    """A signalling client whose network the test holds in its hand."""

    def __init__(self) -> None:
        self.online = True
        self.published: list[dict[str, Any]] = []
        self.closed = False

    async def connect(self) -> None:
        return

    async def publish(self, channel: str, data: Any) -> None:
        if not self.online:
            raise NotConnectedError("not connected")
        assert channel == "telemetry/door"
        self.published.append(data)

    async def close(self) -> None:
        self.closed = True


class Reports:
    def __init__(self) -> None:
        self.said: list[str] = []

    def up(self) -> None:
        self.said.append("up")

    def down(self, reason: str) -> None:
        self.said.append(reason)

    def off(self, reason: str) -> None:
        self.said.append(reason)


class Rig:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.client = Client()
        self.reports = Reports()
        self._tick = asyncio.Event()
        self.reporter = Reporter(
            lambda: self.client, "telemetry/door", self._take, self.clock, 10.0, pause=self._pause, jitter=lambda: 0.0
        )
        self.work = asyncio.ensure_future(self.reporter.run(self.reports))

    def _take(self, seq: int) -> Sample:
        return Sample(node="door", at=self.clock.wall(), seq=seq, uptime_s=1.0)

    async def _pause(self, seconds: float) -> None:
        until = self.clock.monotonic() + seconds
        while self.clock.monotonic() < until:
            await self._tick.wait()

    async def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self._tick.set()
        self._tick = asyncio.Event()
        for _ in range(50):
            await asyncio.sleep(0)

    async def stop(self) -> None:
        self.work.cancel()
        await asyncio.wait([self.work])


async def test_a_sample_at_once_then_each_interval_and_when_something_changed() -> None:
    rig = Rig()
    await rig.advance(0)
    assert [m["seq"] for m in rig.client.published] == [0]
    await rig.advance(9.9)
    assert len(rig.client.published) == 1
    await rig.advance(0.2)
    assert [m["seq"] for m in rig.client.published] == [0, 1]
    await rig.advance(3)
    rig.reporter.changed()
    await rig.advance(0)
    assert [m["seq"] for m in rig.client.published] == [0, 1, 2]
    assert not any(m.get("late") for m in rig.client.published)
    assert rig.reports.said == ["up"] * len(rig.reports.said)
    await rig.stop()
    assert rig.client.closed


async def test_what_could_not_be_sent_is_kept_and_sent_late() -> None:
    rig = Rig()
    await rig.advance(0)
    rig.client.online = False
    for _ in range(3):
        await rig.advance(10)
    assert rig.reporter.waiting == 3
    assert rig.reports.said[-1].startswith("telemetry waits")
    rig.client.online = True
    await rig.advance(1.1)
    assert [m["seq"] for m in rig.client.published] == [0, 1, 2, 3]
    assert [m.get("late", False) for m in rig.client.published] == [False, True, True, False]
    assert rig.reporter.waiting == 0
    assert rig.reporter.latest is not None and rig.reporter.latest.seq == 3
    assert rig.reports.said[-1] == "up"
    await rig.stop()
