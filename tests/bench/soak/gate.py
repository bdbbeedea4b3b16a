"""How the node gets into the hub: the hub's real enrolment over HTTP, its tokens that expire by its own clock."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from edge_node.host.enrolment import CLAIM_FILE
from edge_node.hub.config import HubConfig
from edge_node.hub.enrol import Enrolment
from edge_node.hub.enrol_file import add_claims, new_claim
from edge_node.hub.keys import KeyRing
from edge_node.hub.replies import BadRequest, refusal
from edge_node.ports import Clock
from edge_node.protocol.enrolment import ENROL_PATH, TOKEN_PATH
from edge_node.protocol.grants import Grant

T = TypeVar("T")
START_S = 10.0


class Gate:
    """Answers in a thread of its own, in real time: simulated time stands still meanwhile.

    `open` says whether the node can reach it at all. `clock` is the hub's, which is right.
    """

    def __init__(self, register: Path, clock: Clock, open_: Callable[[], bool]) -> None:
        self._register = register
        self._clock = clock
        self._open = open_
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="soak:gate", daemon=True)
        self._thread.start()
        self.admitted = 0
        """Times the node came in, each with a token of its own."""
        self.restart()
        self.url = f"ws://127.0.0.1:{self._call(self._listen())}"

    def restart(self) -> None:
        """The hub has started anew: its devices are known, no token of before is."""
        self._keys = KeyRing(HubConfig())
        self._enrolment = Enrolment(self._register, self._keys, self._clock, lambda gone: None)

    def claim(self, node: str, state: Path) -> None:
        """Lays a claim into the node's state directory, as its card does."""
        now = self._clock.wall()
        claim, code = new_claim(now, node, hours=1)
        add_claims(self._register, [claim], now)
        (state / CLAIM_FILE).write_text(json.dumps({"code": code}))

    def grant(self, url: str) -> Grant | None:
        """Of the token in a connection's URL; None when it is worth nothing (any more)."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        found = self._keys.admit(query, None, self._clock.wall())
        if not isinstance(found, Grant):
            return None
        self.admitted += 1
        return found

    def close(self) -> None:
        self._call(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    async def _listen(self) -> int:
        app = web.Application()
        app.add_routes([web.post(path, self._answer) for path in (ENROL_PATH, TOKEN_PATH)])
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if not self._open():
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        try:
            of = self._enrolment
            return await (of.enrol(request) if request.path == ENROL_PATH else of.token(request))
        except BadRequest as bad:
            return refusal(bad.status, bad.code, str(bad))
