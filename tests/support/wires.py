"""The network between a client and its server, with scissors."""

from __future__ import annotations

import asyncio

from edge_node.ports import Wire, WireClosed
from edge_node.realtime import wire


class Network:
    """A ports.Connect whose sockets can be cut, and that can be down."""

    def __init__(self) -> None:
        self.is_down = False
        self.opened = 0
        self._wires: list[CuttableWire] = []

    async def connect(self, url: str) -> CuttableWire:
        if self.is_down:
            raise WireClosed(1006, "the network is down")
        self.opened += 1
        cuttable = CuttableWire(await wire.connect(url))
        self._wires.append(cuttable)
        return cuttable

    def cut(self) -> None:
        """Breaks every open socket, as a router that forgets its table does."""
        for cuttable in self._wires:
            cuttable.cut.set()
        self._wires.clear()


class CuttableWire:
    def __init__(self, inner: Wire) -> None:
        self._inner = inner
        self.cut = asyncio.Event()

    async def send(self, text: str) -> None:
        if self.cut.is_set():
            raise WireClosed(1006, "cut")
        await self._inner.send(text)

    async def recv(self) -> str | bytes:
        received = asyncio.ensure_future(self._inner.recv())
        cut = asyncio.ensure_future(self.cut.wait())
        try:
            await asyncio.wait({received, cut}, return_when=asyncio.FIRST_COMPLETED)
            if self.cut.is_set():
                raise WireClosed(1006, "cut")
            return received.result()
        finally:
            received.cancel()
            cut.cancel()
            await asyncio.gather(received, cut, return_exceptions=True)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        await self._inner.close(code, reason)
