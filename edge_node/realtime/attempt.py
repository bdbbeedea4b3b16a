"""One attempt to be connected to the server, from its credential to its last frame."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from edge_node.aio.tasks import TaskGroup, cancel_and_wait
from edge_node.ports import Connect, Wire, WireClosed
from edge_node.protocol import session_events as s
from edge_node.realtime.credential import Credential
from edge_node.realtime.logger import Logger
from edge_node.realtime.options import connect_url
from edge_node.realtime.wire import BROKEN, OPEN_TIMEOUT_S

OUTBOX_FRAMES = 1024
CLOSE_STAGE_S = 1.0


@dataclass(frozen=True, slots=True)
class Server:
    """What every attempt needs to know."""

    origin: str
    credential: Credential
    token_timeout_s: float
    connect: Connect


class Attempt:
    """Runs in a task of `work` and tells Opened, each Received, then exactly one of Lost or TokenFailed.

    Frames wait in a queue of OUTBOX_FRAMES; overflow rule: the connection counts as broken.
    """

    def __init__(
        self, number: int, server: Server, tell: Callable[[s.SessionEvent], None], work: TaskGroup, logger: Logger
    ) -> None:
        self._number = number
        self._server = server
        self._tell = tell
        self._work = work
        self._log = logger
        self._close_as = (1000, "")
        self._outbox: deque[str] = deque()
        self._outbox_wake = asyncio.Event()
        self._task = work.spawn(self._run(), f"wire-{number}")

    def send(self, text: str) -> None:
        """Queues a frame."""
        if len(self._outbox) >= OUTBOX_FRAMES:
            self._log.warning("the server takes nothing any more: reconnecting", {"frames": len(self._outbox)})
            self._task.cancel()
            return
        self._outbox.append(text)
        self._outbox_wake.set()

    def close(self, code: int, reason: str) -> None:
        """Ends it, and tells the server so."""
        self._close_as = (code, reason)
        self._task.cancel()

    async def ended(self) -> None:
        """Waits for its end, at most about CLOSE_STAGE_S, then insists; returns at once when called from within."""
        if self._task is not asyncio.current_task():
            await asyncio.wait([self._task], timeout=CLOSE_STAGE_S)
            await cancel_and_wait(self._task, CLOSE_STAGE_S)

    async def _run(self) -> None:
        server, number = self._server, self._number
        socket: Wire | None = None
        lost = s.Lost(number, BROKEN, "cancelled", random.random())
        try:
            try:
                async with asyncio.timeout(server.token_timeout_s):
                    value = await server.credential.value()
            except Exception as err:
                self._tell(s.TokenFailed(number, err, random.random()))
                return
            async with asyncio.timeout(OPEN_TIMEOUT_S):
                socket = await server.connect(connect_url(server.origin, server.credential, value))
            self._tell(s.Opened(number))
            await self._pump(socket)
        except WireClosed as err:
            lost = s.Lost(number, err.code, err.reason, random.random())
        except TimeoutError:
            lost = s.Lost(number, BROKEN, "no connection in time", random.random())
        except asyncio.CancelledError:
            pass  # the session, or close(), ended this attempt
        except Exception as err:
            self._log.error("the signalling connection failed", {"error": repr(err)})
            lost = s.Lost(number, BROKEN, type(err).__name__, random.random())
        finally:
            if socket is not None:
                await self._close_quietly(socket)
        self._tell(lost)

    async def _pump(self, socket: Wire) -> None:
        writer = self._work.spawn(self._write(socket), "writer")
        try:
            while True:
                text = await socket.recv()
                if isinstance(text, str):
                    self._tell(s.Received(self._number, text))
        finally:
            await cancel_and_wait(writer, CLOSE_STAGE_S)

    async def _write(self, socket: Wire) -> None:
        try:
            while True:
                self._outbox_wake.clear()
                while self._outbox:
                    await socket.send(self._outbox.popleft())
                await self._outbox_wake.wait()
        except WireClosed:
            return  # the reader hears of it as well, with the code

    async def _close_quietly(self, socket: Wire) -> None:
        try:
            async with asyncio.timeout(CLOSE_STAGE_S):
                await socket.close(*self._close_as)
        except (WireClosed, TimeoutError, OSError):
            return
