"""Rows 14 to 24: how events reach handlers and streams; on the official SDK as well."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from typing import Any

import metered_realtime as official
import pytest

import edge_node
from edge_node.aio.emitter import Emitter
from edge_node.realtime.data_channel import DataChannel
from edge_node.realtime.events import Disconnected, Event, GoingAway, Message
from edge_node.realtime.remote import RemotePeer
from tests.support.fake_server import FakeServer
from tests.support.virtual_time import in_virtual_time, now_s
from tests.support.waiting import eventually

BOTH = pytest.mark.parametrize("sdk", [edge_node, official], ids=["ours", "official"])


def emitter_of(sdk: Any) -> Any:
    return sdk.SignallingClient(api_key="pk_x", url="ws://localhost")


def events_of(sdk: Any) -> list[type[Any]]:
    named = [getattr(sdk, name) for name in sdk.__all__]
    return [cls for cls in named if isinstance(cls, type) and issubclass(cls, sdk.Event)]


@BOTH
def test_row_014_events_are_frozen_slotted_dataclasses(sdk: Any) -> None:
    for cls in events_of(sdk):
        assert dataclasses.is_dataclass(cls) and "__slots__" in vars(cls), cls
        event = object.__new__(cls)
        for field in (f.name for f in dataclasses.fields(cls)):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(event, field, 1)


@BOTH
def test_row_014_the_exact_class_counts(sdk: Any) -> None:
    emitter, heard = emitter_of(sdk), list[Any]()
    emitter.on(sdk.Event, heard.append)
    emitter.emit(sdk.GoingAway(1))
    assert heard == []


def test_row_014_all_four_classes_are_emitters() -> None:
    assert all(
        issubclass(c, Emitter) for c in (edge_node.SignallingClient, edge_node.MeteredPeer, RemotePeer, DataChannel)
    )


@BOTH
@pytest.mark.parametrize("method", ["on", "once"])
def test_row_015_on_gives_the_handler_back_also_as_a_decorator(sdk: Any, method: str) -> None:
    emitter, heard = emitter_of(sdk), list[int]()
    first = lambda e: heard.append(1)  # noqa: E731
    assert getattr(emitter, method)(sdk.GoingAway, first) is first

    @getattr(emitter, method)(sdk.GoingAway)  # type: ignore[untyped-decorator]
    def second(event: Any) -> None:
        heard.append(2)

    emitter.emit(sdk.GoingAway(1))
    assert second is not None and heard == [1, 2]


@BOTH
def test_row_016_off_is_silent_and_takes_the_first_match(sdk: Any) -> None:
    emitter, heard = emitter_of(sdk), list[str]()

    def twice(event: Any) -> None:
        heard.append("twice")

    emitter.off(sdk.GoingAway, twice)
    emitter.on(sdk.GoingAway, twice)
    emitter.on(sdk.GoingAway, lambda e: heard.append("middle"))
    emitter.on(sdk.GoingAway, twice)
    emitter.off(sdk.GoingAway, twice)
    emitter.off(sdk.Message, twice)
    emitter.emit(sdk.GoingAway(1))
    assert heard == ["middle", "twice"]


@BOTH
def test_row_017_a_once_handler_is_gone_before_it_runs(sdk: Any) -> None:
    emitter, heard = emitter_of(sdk), list[int]()

    def handler(event: Any) -> None:
        heard.append(event.retry_after_ms)
        emitter.emit(sdk.GoingAway(9))

    emitter.once(sdk.GoingAway, handler)
    emitter.emit(sdk.GoingAway(1))
    emitter.emit(sdk.GoingAway(2))
    assert heard == [1]


@BOTH
async def test_row_018_plain_handlers_run_at_once_and_others_as_tasks(sdk: Any) -> None:
    emitter, heard = emitter_of(sdk), list[str]()

    async def later(event: Any) -> None:
        heard.append("task")

    emitter.on(sdk.GoingAway, later)
    for name in ("a", "b", "c"):
        emitter.on(sdk.GoingAway, lambda e, name=name: heard.append(name))
    emitter.emit(sdk.GoingAway(1))
    assert heard == ["a", "b", "c"]
    await eventually(lambda: heard == ["a", "b", "c", "task"])
    await emitter.close()


@BOTH
async def test_row_019_a_failing_handler_is_logged_and_alone(sdk: Any, caplog: pytest.LogCaptureFixture) -> None:
    logger = sdk.StdlibLogger(logging.getLogger("edge_node.tests"))
    emitter = sdk.SignallingClient(api_key="pk_x", url="ws://localhost", logger=logger)
    heard: list[int] = []

    def bad(event: Any) -> None:
        raise ValueError("sync")

    async def worse(event: Any) -> None:
        raise ValueError("async")

    async def fine(event: Any) -> None:
        heard.append(event.retry_after_ms)

    for handler in (bad, worse, fine):
        emitter.on(sdk.GoingAway, handler)
    with caplog.at_level(logging.WARNING):
        emitter.emit(sdk.GoingAway(1))
        await eventually(lambda: heard == [1] and len(caplog.records) == 2)
    await emitter.close()


def test_row_019_a_cancelled_future_in_a_handler_cancels_nobody(caplog: pytest.LogCaptureFixture) -> None:
    emitter, heard = Emitter(), list[GoingAway]()

    def looks(event: GoingAway) -> None:
        raise asyncio.CancelledError

    emitter.on(GoingAway, looks)
    emitter.on(GoingAway, heard.append)
    emitter.emit(GoingAway(1))
    assert heard == [GoingAway(1)] and len(caplog.records) == 1


@BOTH
def test_row_020_leaving_during_the_dispatch_does_not_disturb_it(sdk: Any) -> None:
    emitter, heard = emitter_of(sdk), list[str]()

    def late(event: Any) -> None:
        heard.append("late")

    def early(event: Any) -> None:
        heard.append("early")
        emitter.off(sdk.GoingAway, early)
        emitter.off(sdk.GoingAway, late)

    emitter.on(sdk.GoingAway, early)
    emitter.on(sdk.GoingAway, late)
    emitter.on(sdk.GoingAway, lambda e: heard.append("last"))
    emitter.emit(sdk.GoingAway(1))
    emitter.emit(sdk.GoingAway(2))
    assert heard == ["early", "late", "last", "last"]


@BOTH
async def test_row_021_a_full_stream_loses_its_oldest(sdk: Any) -> None:
    emitter = emitter_of(sdk)
    small, default = emitter.events(sdk.GoingAway, maxsize=2), emitter.events(sdk.GoingAway)
    unbounded = emitter.events(sdk.GoingAway, maxsize=0)
    for number in range(5000):
        emitter.emit(sdk.GoingAway(number))
    assert [(await anext(small)).retry_after_ms for _ in range(2)] == [4998, 4999]
    assert (await anext(default)).retry_after_ms == 5000 - 4096
    assert [(await anext(unbounded)).retry_after_ms for _ in range(5000)] == list(range(5000))
    if sdk is edge_node:
        assert (small.dropped, default.dropped, unbounded.dropped) == (4998, 904, 0)
    waiting = asyncio.get_running_loop().create_task(anext(small))
    await asyncio.sleep(0)
    emitter.emit(sdk.GoingAway(7))
    assert (await waiting).retry_after_ms == 7
    await emitter.close()


@BOTH
async def test_row_022_a_stream_is_a_context_and_ends_when_closed(sdk: Any) -> None:
    emitter = emitter_of(sdk)
    async with emitter.events(sdk.GoingAway) as stream:
        emitter.emit(sdk.GoingAway(1))
        emitter.emit(sdk.GoingAway(2))
        assert (await anext(stream)).retry_after_ms == 1
    emitter.emit(sdk.GoingAway(3))
    assert [e.retry_after_ms async for e in stream] == [2]
    await emitter.close()


def test_row_022_what_comes_after_the_end_is_not_kept() -> None:
    emitter = Emitter()
    stream = emitter.events(GoingAway)
    stream.close()
    stream.close()
    stream.push(GoingAway(1))
    emitter.emit(GoingAway(1))
    assert len(stream._items) == 0


@in_virtual_time
async def test_row_022_close_ends_streams_and_drops_handlers() -> None:
    client = await FakeServer().connected()
    client.on(GoingAway, lambda e: None)
    stream, gone = client.events(Message), client.events(Disconnected)
    await client.close()
    assert [e async for e in stream] == [] and len([e async for e in gone]) == 1
    assert client.listener_count(GoingAway) == 0


@in_virtual_time
async def test_row_022_a_drop_for_good_does_as_well() -> None:
    server = FakeServer()
    client = await server.connected()
    client.on(GoingAway, lambda e: None)
    stream = client.events(Message)
    await server.lose(client, 4020, "kicked")
    assert [e async for e in stream] == [] and client.listener_count(GoingAway) == 0
    await client.close()


@BOTH
def test_row_023_listeners_are_counted(sdk: Any) -> None:
    emitter = emitter_of(sdk)
    assert emitter.listener_count(sdk.GoingAway) == 0
    emitter.on(sdk.GoingAway, print)
    emitter.once(sdk.GoingAway, print)
    emitter.events(sdk.GoingAway)
    assert (emitter.listener_count(sdk.GoingAway), emitter.listener_count(sdk.Event)) == (2, 0)


@in_virtual_time
async def test_row_024_running_handlers_get_a_second() -> None:
    client, ended = await FakeServer().connected(), list[tuple[str, float]]()

    async def quick(event: Event) -> None:
        await asyncio.sleep(0.5)
        ended.append(("quick", now_s() - began))

    async def slow(event: Event) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(("cancelled", now_s() - began))

    client.on(GoingAway, quick)
    client.on(GoingAway, slow)
    client.emit(GoingAway(1))
    began = now_s()
    await client.close()
    assert [name for name, _ in ended] == ["quick", "cancelled"]
    assert [at for _, at in ended] == pytest.approx([0.5, 1.0])


@in_virtual_time
async def test_row_024_a_handler_may_close_its_own_client() -> None:
    client, ended = await FakeServer().connected(), list[float]()

    @client.on(GoingAway)
    async def closing(event: GoingAway) -> None:
        await client.close()
        ended.append(now_s())

    client.emit(GoingAway(1))
    await eventually(lambda: ended)
    assert ended == [0.0] and client.state == "closed"
    await client.drain()
