"""What a client shows the server: a key, or a token that a program gives for each connection."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from edge_node.aio.own_threads import OwnThreads, is_async

MAX_CALLS = 4
TokenProviderFn = Callable[[], Awaitable[str] | str]
"""Gives a fresh token for one connection: a coroutine function, or a plain one, which runs in a thread."""


class Credential:
    """A key or a token provider, kept out of repr, vars and pickles."""

    __slots__ = ("_resolve", "kind")

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
        threads = OwnThreads("token-provider")

        async def resolve() -> Any:
            if key or provider is None:
                return key
            if is_async(provider):
                result: Any = provider()
            elif threads.alive >= MAX_CALLS:
                raise TimeoutError(f"the token provider has not returned from {MAX_CALLS} calls")
            else:
                result = await threads.call(provider)
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
