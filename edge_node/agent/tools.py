"""Functions that a model may ask for."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NotRequired

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12

from edge_node.aio.own_threads import OwnThreads, is_async
from edge_node.aio.tasks import TaskGroup
from edge_node.protocol.secrets import scrub

log = logging.getLogger(__name__)

MAX_RUNNING = 8
"""Calls, and threads of earlier ones, at a time: more are refused with a text that the model can read."""
MAX_RESULT = 16_000
"""Characters of a result; what is longer is cut."""
TIMEOUT_S = 30.0
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Reply = Callable[[str, str], Awaitable[None]]
"""reply(call_id, text)"""


@dataclass(frozen=True, slots=True)
class Tool:
    """A function, plain or async, with what a model has to know of it; `parameters` is a JSON schema.

    Whoever speaks to an agent can make it call its tools with any arguments, so a tool may do only what any visitor may
    cause: never open a door, at most ask a person to.
    """

    name: str
    description: str
    parameters: Mapping[str, Any]
    function: Callable[..., Any]
    _arguments: TypeAdapter[Any] = field(repr=False, compare=False)

    @classmethod
    def of(cls, function: Callable[..., Any], name: str | None = None, description: str | None = None) -> Tool:
        """By default named like the function and described by its docstring; `Annotated[…, Field(…)]` says more.

        Raises ValueError for a name that no service takes or a missing description, TypeError for parameters that
        have no type, cannot come by name, or cannot be written in JSON.
        """
        called = name or str(getattr(function, "__name__", type(function).__name__))
        if not _NAME.fullmatch(called):
            raise ValueError(f"a tool's name is 1 to 64 letters, digits, - and _, not {called!r}: give another name")
        text = description or inspect.getdoc(function)
        if not text:
            raise ValueError(f"the tool {called} has no description: write a docstring, which the model reads")
        try:
            arguments = _arguments(function, called)
            return cls(called, text, arguments.json_schema(), function, arguments)
        except (PydanticUserError, NameError) as err:
            raise TypeError(f"the parameters of the tool {called} have no JSON schema: {err}") from err

    def checked(self, arguments: str) -> dict[str, Any]:
        """The values for a call, of JSON text. Raises ValueError with what the model did wrong."""
        try:
            values: dict[str, Any] = self._arguments.validate_json(arguments or "{}")
        except ValidationError as err:
            wrong = err.errors(include_url=False, include_context=False, include_input=False)
            told = (f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg']}" for one in wrong)
            raise ValueError("; ".join(told)) from None
        return values


def _arguments(function: Callable[..., Any], called: str) -> TypeAdapter[Any]:
    """Checks a JSON object against the parameters: strict, nothing unknown, what has a default may be missing."""
    wanted: dict[str, Any] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        if parameter.annotation is parameter.empty:
            raise TypeError(f"the parameter {parameter.name} of the tool {called} has no type: annotate it")
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"the parameter {parameter.name} of the tool {called} cannot be given by name")
        hint = parameter.annotation
        wanted[parameter.name] = hint if parameter.default is parameter.empty else NotRequired[hint]
    make: Any = TypedDict
    shape = make(called, wanted)
    shape.__pydantic_config__ = ConfigDict(extra="forbid", strict=True)
    return TypeAdapter(shape)


class ToolCalls:
    """The calls that run: each a task with a deadline, whose result or failure is replied as text."""

    def __init__(self, tools: Iterable[Tool], reply: Reply, timeout_s: float = TIMEOUT_S) -> None:
        """Raises ValueError for two tools of one name."""
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self._tools:
                raise ValueError(f"two tools are named {tool.name}: give one of them another name")
            self._tools[tool.name] = tool
        self._reply = reply
        self._timeout_s = timeout_s
        self._running: dict[str, asyncio.Task[None]] = {}
        self._threads = OwnThreads("agent-tool")
        self._tasks = TaskGroup("agent-tools")

    async def start(self, call_id: str, name: str, arguments: str) -> None:
        """Begins a call; waits only to refuse one that is too many. The same id again, while it runs, is nothing."""
        if call_id in self._running:
            return
        if max(len(self._tasks), self._threads.alive) >= MAX_RUNNING:
            log.warning("the model's call of %s is refused: %d calls run", name, MAX_RUNNING)
            await self._reply(call_id, f"error: {MAX_RUNNING} calls run already, wait for their results")
            return
        self._running[call_id] = self._tasks.spawn(self._answer(call_id, name, arguments), name)

    def cancel(self) -> None:
        """Ends what runs, unanswered; waits for nothing, neither for who does not care nor for a thread."""
        for task in set(self._running.values()) - {asyncio.current_task()}:
            task.cancel()
        self._running.clear()

    async def close(self) -> None:
        """cancel(), and waits a moment for what ends."""
        self.cancel()
        await self._tasks.close()

    async def _answer(self, call_id: str, name: str, arguments: str) -> None:
        text = await self._result(name, arguments)
        if len(text) > MAX_RESULT:
            text = f"{text[:MAX_RESULT]} … (cut, {len(text)} characters)"
        if self._running.get(call_id) is asyncio.current_task():  # else it was cancelled, and did not care
            await self._reply(call_id, text)
            self._running.pop(call_id, None)

    async def _result(self, name: str, arguments: str) -> str:
        tool = self._tools.get(name)
        if tool is None:
            return f"error: there is no tool {name}, only {', '.join(self._tools) or 'none at all'}"
        try:
            async with asyncio.timeout(self._timeout_s) as deadline:
                result = await self._call(tool.function, tool.checked(arguments))
                return result if isinstance(result, str) else json.dumps(result, ensure_ascii=False, default=str)
        except Exception as err:  # a tool's own, or the model's mistake: both are for the model to read
            why = f"no result within {self._timeout_s:g} s" if deadline.expired() else str(err) or type(err).__name__
            log.warning("the tool %s failed: %s", name, scrub(why))
            return f"error: {scrub(why)}"

    async def _call(self, function: Callable[..., Any], values: dict[str, Any]) -> Any:
        plain = not is_async(function)
        result = await self._threads.call(partial(function, **values)) if plain else function(**values)
        return await result if inspect.isawaitable(result) else result
