"""Parts fail alone, say so, and come back."""

from __future__ import annotations

import asyncio

from edge_node.errors import DeviceMissing, LoginRefused, SourceLost
from edge_node.node.supervisor import (
    FIRST_PAUSE_S,
    LAST_PAUSE_S,
    STEADY_S,
    WRONG_PAUSE_S,
    Part,
    PartState,
    Report,
    Supervisor,
)
from tests.support.clock import ManualClock
from tests.support.waiting import settle


class Pauses:
    """Stands in for sleeping: records how long, and lets the test decide when it is over."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self._go = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self._go.acquire()

    def over(self) -> None:
        self._go.release()


async def test_a_failing_part_is_degraded_and_tried_again_with_growing_pauses() -> None:
    tries = 0

    async def run(report: Report) -> None:
        nonlocal tries
        tries += 1
        raise DeviceMissing("no camera: plug one in")

    pauses = Pauses()
    changes: list[int] = []
    supervisor = Supervisor([Part("camera", run)], ManualClock(), on_change=lambda: changes.append(1), pause=pauses)
    supervisor.start()
    for _ in range(6):
        await settle()
        pauses.over()
    await settle()
    assert supervisor.degraded() == ["camera: no camera: plug one in"]
    assert pauses.asked == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]
    assert tries == 7
    assert supervisor.restarts == 6
    assert changes == [1], "the same failure again is not news"
    await supervisor.stop()
    assert supervisor.health["camera"].state is PartState.OFF


async def test_a_wrong_password_is_not_tried_often() -> None:
    async def run(report: Report) -> None:
        raise LoginRefused("check the password")

    pauses = Pauses()
    supervisor = Supervisor([Part("camera", run)], ManualClock(), pause=pauses)
    supervisor.start()
    await settle()
    assert pauses.asked == [WRONG_PAUSE_S]
    await supervisor.stop()


async def test_a_part_that_heals_is_up_and_one_that_was_steady_starts_from_the_first_pause() -> None:
    clock = ManualClock()
    fail = asyncio.Event()
    runs = 0

    async def run(report: Report) -> None:
        nonlocal runs
        runs += 1
        if runs <= 2:
            raise SourceLost("away")
        report.up()
        report.up()
        await fail.wait()
        raise SourceLost("away again")

    pauses = Pauses()
    supervisor = Supervisor([Part("camera", run)], clock, pause=pauses)
    supervisor.start()
    for _ in range(2):
        await settle()
        pauses.over()
    await settle()
    assert supervisor.health["camera"].state is PartState.UP
    assert supervisor.degraded() == []
    clock.advance(STEADY_S)
    fail.set()
    await settle()
    assert supervisor.degraded() == ["camera: away again"]
    assert pauses.asked[-1] == FIRST_PAUSE_S < LAST_PAUSE_S
    await supervisor.stop()


async def test_a_bug_degrades_one_part_and_leaves_the_others_alone() -> None:
    async def broken(report: Report) -> None:
        raise ZeroDivisionError("oops")

    async def ends(report: Report) -> None:
        return

    async def well(report: Report) -> None:
        report.up()
        await asyncio.Event().wait()

    supervisor = Supervisor([Part("a", broken), Part("b", ends), Part("c", well)], ManualClock(), pause=Pauses())
    supervisor.start()
    await settle()
    assert supervisor.health["c"].state is PartState.UP
    assert "please report it" in supervisor.health["a"].reason
    assert supervisor.health["b"].reason == "ended by itself"
    assert supervisor.failed() is None
    await supervisor.stop()


async def test_parts_stop_in_reverse_order_and_a_stubborn_one_is_not_waited_for_long() -> None:
    ended: list[str] = []
    release = asyncio.Event()

    def part(name: str, stubborn: bool = False) -> Part:
        async def run(report: Report) -> None:
            report.up()
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(name)
                if stubborn:
                    await release.wait()

        return Part(name, run)

    supervisor = Supervisor(
        [part("panel"), part("camera", stubborn=True), part("channel")], ManualClock(), pause=Pauses()
    )
    supervisor.start()
    await settle()
    await supervisor.stop()
    assert ended == ["channel", "camera", "panel"]
    release.set()
    await settle()


async def test_a_running_part_says_that_it_is_down_and_up_again() -> None:
    steps: asyncio.Queue[str] = asyncio.Queue()

    async def run(report: Report) -> None:
        while True:
            match await steps.get():
                case "up":
                    report.up()
                case reason:
                    report.down(reason)

    supervisor = Supervisor([Part("channel", run)], ManualClock(), pause=Pauses())
    supervisor.start()
    for step, degraded in (("up", []), ("the hub is away", ["channel: the hub is away"]), ("up", [])):
        steps.put_nowait(step)
        await settle()
        assert supervisor.degraded() == degraded
    await supervisor.stop()


async def test_a_broken_keeper_is_reported() -> None:
    async def run(report: Report) -> None:
        raise SourceLost("x")

    async def broken_pause(seconds: float) -> None:
        raise RuntimeError("bug in the supervisor")

    supervisor = Supervisor([Part("a", run)], ManualClock(), pause=broken_pause)
    supervisor.start()
    await settle()
    assert isinstance(supervisor.failed(), RuntimeError)
    await supervisor.stop()
