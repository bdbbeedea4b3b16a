"""A TCP line to the hub that a test can break, whatever program talks over it."""

from __future__ import annotations

import asyncio
from types import TracebackType

from tests.support.waiting import eventually

CHUNK_BYTES = 65_536


class Line:
    """Listens on a free port of this machine and passes everything on to another one.

    `hides_ends`: the server does not learn that a client is gone, as when a cable was pulled.
    """

    def __init__(self, port: int, *, hides_ends: bool = False) -> None:
        self._target = port
        self._hides_ends = hides_ends
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._serving = 0

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Line:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await eventually(lambda: not self._serving)

    def cut(self) -> None:
        """Resets what is open; new connections are welcome."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving += 1
        mine = {writer}
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
            mine.add(back)
            self._writers |= mine
            ways = [asyncio.ensure_future(_pass_on(reader, back)), asyncio.ensure_future(_pass_on(there, writer))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            while self._hides_ends and await there.read(CHUNK_BYTES):
                pass
        except OSError:
            pass
        finally:
            self._writers -= mine
            for one in mine:
                one.transport.abort()
            self._serving -= 1


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()
