"""Row 153: what a model may call, and what becomes of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from enum import Enum
from typing import Annotated, Any

import pytest
from pydantic import Field

from edge_node.agent.tools import MAX_RESULT, MAX_RUNNING, Tool, ToolCalls
from tests.support.virtual_time import in_virtual_time, now_s
from tests.support.waiting import eventually, settle


class Unit(Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


def weather(city: Annotated[str, Field(description="where")], days: int = 1, unit: Unit = Unit.CELSIUS) -> str:
    """What the weather will be."""
    return f"{city} {days} {unit.name}"


async def lookup(name: str) -> list[str]:
    """Who lives here."""
    return [name, "Zoë"]


async def forever() -> None:
    """Waits."""
    await asyncio.Event().wait()


def broken() -> None:
    """Fails."""
    raise RuntimeError("no route to token=abcdef123456")


class Calls:
    """ToolCalls and what they replied."""

    def __init__(self, *functions: Callable[..., Any], timeout_s: float = 30.0) -> None:
        self.replies: list[tuple[str, str]] = []
        self.calls = ToolCalls(map(Tool.of, functions), self._reply, timeout_s)

    async def _reply(self, call_id: str, text: str) -> None:
        self.replies.append((call_id, text))

    async def result(self, name: str, arguments: str = "") -> str:
        await self.calls.start("1", name, arguments)
        await eventually(lambda: self.replies)
        return self.replies.pop()[1]


def test_row_153_the_schema_of_a_tool_comes_from_its_signature() -> None:
    tool = Tool.of(weather)
    assert (tool.name, tool.description) == ("weather", "What the weather will be.")
    schema = tool.parameters
    assert schema["type"] == "object" and schema["required"] == ["city"] and not schema["additionalProperties"]
    assert schema["properties"]["city"] == {"description": "where", "title": "City", "type": "string"}
    assert schema["properties"]["days"]["type"] == "integer"
    assert schema["$defs"]["Unit"]["enum"] == ["celsius", "kelvin"]
    assert Tool.of(forever).parameters["properties"] == {}
    assert Tool.of(weather, name="w", description="d").name == "w"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("{}", "city: "),
        ('{"city": 3}', "city: "),
        ('{"city": "Bern", "days": "2"}', "days: "),
        ('{"city": "Bern", "more": 1}', "more: "),
        ('{"city": "Bern", "unit": "foot"}', "unit: "),
        ("[]", "arguments: "),
        ("{", "arguments: "),
    ],
)
async def test_row_153_arguments_that_do_not_fit_are_told_to_the_model(arguments: str, told: str) -> None:
    assert (await Calls(weather).result("weather", arguments)).startswith(f"error: {told}")


async def test_row_153_plain_and_async_tools_answer_in_text() -> None:
    calls = Calls(weather, lookup)
    assert await calls.result("weather", '{"city": "Bern", "unit": "kelvin"}') == "Bern 1 KELVIN"
    assert await calls.result("lookup", '{"name": "Ada"}') == '["Ada", "Zoë"]'


async def test_row_153_a_plain_tool_may_give_something_to_await() -> None:
    def later() -> Any:
        """Looks it up."""
        return lookup("Ada")

    assert await Calls(later).result("later") == '["Ada", "Zoë"]'


async def test_row_153_failures_are_told_to_the_model_without_secrets() -> None:
    calls = Calls(broken)
    assert await calls.result("broken") == "error: no route to token=***"
    assert await calls.result("other") == "error: there is no tool other, only broken"
    assert await Calls().result("other") == "error: there is no tool other, only none at all"


async def test_row_153_long_results_are_cut() -> None:
    def long() -> str:
        """Says much."""
        return "x" * (MAX_RESULT + 1)

    text = await Calls(long).result("long")
    assert text == "x" * MAX_RESULT + f" … (cut, {MAX_RESULT + 1} characters)"


@in_virtual_time
async def test_row_153_a_tool_has_a_deadline() -> None:
    calls = Calls(forever, timeout_s=5.0)
    await calls.calls.start("1", "forever", "")
    await calls.calls.start("1", "forever", "")
    await asyncio.sleep(6)
    assert calls.replies == [("1", "error: no result within 5 s")], "and the same call twice is one"


@in_virtual_time
async def test_row_153_cancelled_tools_are_not_answered() -> None:
    stopped: list[float] = []

    async def stubborn() -> str:
        """Does not care."""
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            stopped.append(now_s())
        return "done"

    calls = Calls(forever, stubborn, timeout_s=1000)
    calls.calls.cancel()
    await calls.calls.start("1", "forever", "")
    await calls.calls.start("2", "stubborn", "")
    await settle()
    calls.calls.cancel()
    await asyncio.sleep(10)
    assert len(stopped) == 1 and calls.replies == []


@in_virtual_time
async def test_row_153_a_tool_may_interrupt_the_agent_that_called_it() -> None:
    async def hang_up() -> str:
        """Ends it."""
        calls.calls.cancel()
        ended.append(True)
        return "done"

    ended: list[bool] = []
    calls = Calls(hang_up)
    await calls.calls.start("1", "hang_up", "")
    await settle()
    assert ended and calls.replies == []


@in_virtual_time
async def test_row_153_too_many_calls_are_refused() -> None:
    calls = Calls(forever)
    for number in range(MAX_RUNNING + 1):
        await calls.calls.start(str(number), "forever", "")
    assert calls.replies == [(str(MAX_RUNNING), f"error: {MAX_RUNNING} calls run already, wait for their results")]
    await calls.calls.close()


async def test_row_153_threads_that_hang_do_not_pile_up() -> None:
    release = threading.Event()

    def hang() -> None:
        """Hangs."""
        release.wait(60)

    calls = Calls(hang)
    try:
        for number in range(MAX_RUNNING):
            await calls.calls.start(str(number), "hang", "")
        await settle()
        calls.calls.cancel()
        await settle()
        assert (await calls.result("hang")).startswith("error: 8 calls run already")
    finally:
        release.set()
    await eventually(lambda: not any(thread.name == "agent-tool" for thread in threading.enumerate()))
    assert await calls.result("hang") == "null", "what came too late was thrown away"


def test_row_153_a_thread_that_outlives_its_loop_is_quiet() -> None:
    release, ended = threading.Event(), threading.Event()

    def hang() -> None:
        """Hangs."""
        release.wait(60)
        ended.set()

    async def call() -> None:
        calls = Calls(hang)
        await calls.calls.start("1", "hang", "")
        await settle()
        await calls.calls.close()

    asyncio.run(call())
    release.set()
    assert ended.wait(60)


def positional(a: int, /) -> None:
    """No names."""


def many(*values: int) -> None:
    """Any number."""


def untyped(a) -> None:  # type: ignore[no-untyped-def]
    """No type."""


def no_json(a: Callable[[], int]) -> None:
    """A function."""


def unknown(a: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    """A type that is not there."""


def undescribed() -> None: ...


@pytest.mark.parametrize(
    ("function", "error", "told"),
    [
        (positional, TypeError, "cannot be given by name"),
        (many, TypeError, "cannot be given by name"),
        (untyped, TypeError, "annotate"),
        (no_json, TypeError, "no JSON schema"),
        (unknown, TypeError, "no JSON schema"),
        (undescribed, ValueError, "docstring"),
        (lambda: None, ValueError, "another name"),
    ],
)
def test_row_153_tools_that_cannot_be_are_refused(function: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        Tool.of(function)


def test_row_153_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two tools"):
        Calls(weather, weather)
