from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

import pytest

from edge_node.aio.emitter import Emitter
from tests.support.waiting import eventually


@dataclass(frozen=True, slots=True)
class Ping:
    number: int = 0


@dataclass(frozen=True, slots=True)
class Loud(Ping):
    pass


def test_handlers_run_in_order_and_by_exact_class() -> None:
    emitter, heard = Emitter(), []
    assert emitter.on(Ping, first := lambda e: heard.append(("a", e.number))) is first

    @emitter.on(Ping)
    def second(event: Ping) -> None:
        heard.append(("b", event.number))

    emitter.emit(Ping(1))
    emitter.emit(Loud(2))
    assert heard == [("a", 1), ("b", 1)] and emitter.listener_count(Ping) == 2
    assert second is not None


def test_once_and_off() -> None:
    emitter, heard = Emitter(), []

    def handler(event: Ping) -> None:
        heard.append(event.number)
        emitter.emit(Ping(9))  # it is gone before it runs

    emitter.once(Ping, handler)
    emitter.emit(Ping(1))
    emitter.emit(Ping(2))
    assert heard == [1]

    @emitter.once(Ping)
    def other(event: Ping) -> None:
        heard.append(-event.number)

    emitter.off(Ping, other)  # D20
    emitter.off(Ping, other)
    emitter.off(Loud, other)
    emitter.emit(Ping(3))
    assert heard == [1]


def test_a_handler_that_leaves_during_the_dispatch() -> None:
    emitter, heard = Emitter(), []

    def late(event: Ping) -> None:
        heard.append("late")

    def early(event: Ping) -> None:
        heard.append("early")
        emitter.off(Ping, early)
        emitter.off(Ping, late)

    emitter.on(Ping, early)
    emitter.once(Ping, late)
    emitter.on(Ping, lambda e: heard.append("last"))
    emitter.emit(Ping())
    emitter.emit(Ping())
    assert heard == ["early", "last", "last"]


async def test_failing_handlers_are_logged_and_alone(caplog: pytest.LogCaptureFixture) -> None:
    emitter, heard = Emitter(), []

    def bad(event: Ping) -> None:
        raise ValueError("sync")

    async def worse(event: Ping) -> None:
        raise ValueError("async")

    async def fine(event: Ping) -> None:
        heard.append(event.number)

    emitter.on(Ping, bad)
    emitter.on(Ping, worse)
    emitter.on(Ping, fine)
    with caplog.at_level(logging.ERROR):
        emitter.emit(Ping(1))
        await eventually(lambda: heard == [1] and len(caplog.records) == 2)


async def test_streams() -> None:
    emitter = Emitter()
    async with emitter.events(Ping, maxsize=2) as stream:
        assert emitter.listener_count(Ping) == 1
        for number in range(4):
            emitter.emit(Ping(number))
        assert stream.dropped == 2
        assert [(await anext(stream)).number for _ in range(2)] == [2, 3]
        waiting = asyncio.get_running_loop().create_task(anext(stream))
        await asyncio.sleep(0)
        emitter.emit(Ping(7))
        assert (await waiting).number == 7
        emitter.emit(Ping(8))
    assert [e.number async for e in stream] == [8]
    for _ in range(2):  # D21
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    stream.close()
    stream.push(Ping())
    assert emitter.listener_count(Ping) == 0


async def test_unbounded_streams_and_release() -> None:
    emitter = Emitter()
    stream = emitter.events(Ping, maxsize=0)
    emitter.on(Ping, lambda e: None)
    for number in range(5000):
        emitter.emit(Ping(number))
    emitter.release()
    emitter.emit(Ping())
    assert len([e async for e in stream]) == 5000 and emitter.listener_count(Ping) == 0


async def test_draining_gives_handlers_a_moment() -> None:
    emitter, ended = Emitter(), []

    async def quick(event: Ping) -> None:
        await asyncio.sleep(0)
        ended.append("quick")

    async def slow(event: Ping) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    await emitter.drain()
    emitter.on(Ping, quick)
    emitter.emit(Ping())
    await emitter.drain()
    emitter.on(Ping, slow)
    emitter.emit(Ping())
    await emitter.drain(0.01)
    assert ended == ["quick", "quick", "cancelled"]


async def test_a_handler_may_close_its_emitter() -> None:
    emitter, ended = Emitter(), []

    async def closing(event: Ping) -> None:
        await emitter.drain(5)
        ended.append(event)

    emitter.on(Ping, closing)
    emitter.emit(Ping())
    await eventually(lambda: ended, 2)
