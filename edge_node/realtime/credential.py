"""What a client shows the server: a key, or a token that a program gives for each connection."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Literal

MAX_CALLS = 4
TokenProviderFn = Callable[[], Awaitable[str] | str]
"""Gives a fresh token for one connection: a coroutine function, or a plain one, which runs in a thread."""


class Credential:
    """A key or a token provider, kept out of repr, vars and pickles."""

    __slots__ = ("_calls", "_resolve", "kind")

    def __init__(self, api_key: str | None, token_provider: TokenProviderFn | None) -> None:
        if api_key and token_provider:
            raise ValueError("give either api_key or token_provider, not both")
        if not api_key and not token_provider:
            raise ValueError("give an api_key or a token_provider")
        if api_key is not None and not isinstance(api_key, str):
            raise ValueError("api_key must be a string")
        if token_provider and not callable(token_provider):
            raise ValueError("token_provider must be a function that gives a token; a fixed key goes into api_key")
        key, provider = api_key, token_provider
        self.kind: Literal["key", "token"] = "key" if key else "token"
        self._calls: list[threading.Thread] = []

        async def resolve() -> Any:
            if key or provider is None:
                return key
            result = provider() if _is_async(provider) else await self._in_thread(provider)
            return await result if inspect.isawaitable(result) else result

        self._resolve = resolve

    def __repr__(self) -> str:
        return f"Credential({self.kind}=<hidden>)"

    def __reduce__(self) -> Any:
        raise TypeError("a credential is not pickled: it holds a secret")

    async def value(self) -> str:
        """The key, or a fresh token; whoever awaits it sets the deadline.

        Raises ValueError for an empty one, TimeoutError while MAX_CALLS calls of a plain provider have not returned,
        and whatever the provider raises.
        """
        text = await self._resolve()
        if not isinstance(text, str) or not text:
            raise ValueError("the token provider must give a non-empty string")
        return text

    async def _in_thread(self, provider: TokenProviderFn) -> Any:
        """Calls it in a thread of its own: calls that hang would fill a pool that others need."""
        self._calls = [thread for thread in self._calls if thread.is_alive()]
        if len(self._calls) >= MAX_CALLS:
            raise TimeoutError(f"the token provider has not returned from {MAX_CALLS} calls")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def call() -> None:
            try:
                result, error = provider(), None
            except Exception as err:
                result, error = None, err
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(_settle, answer, result, error)

        self._calls.append(threading.Thread(target=call, name="token-provider", daemon=True))
        self._calls[-1].start()
        return await answer


def _settle(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():  # nobody waited for so long
        if inspect.iscoroutine(result):
            result.close()
    elif error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)


def _is_async(provider: TokenProviderFn) -> bool:
    return inspect.iscoroutinefunction(provider) or inspect.iscoroutinefunction(type(provider).__call__)
