"""Publishes telemetry: takes samples in their time, keeps them while the network is away, sends them after."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from edge_node.errors import EdgeNodeError
from edge_node.node.supervisor import Report
from edge_node.ports import Clock
from edge_node.telemetry.cadence import Cadence
from edge_node.telemetry.ring import Ring
from edge_node.telemetry.sample import Sample, to_message

log = logging.getLogger(__name__)

PUBLISH_DEADLINE_S = 5.0
OFFLINE_RETRY_S = 1.0


class Publisher(Protocol):
    """The signalling client as telemetry sees it."""

    async def connect(self) -> None: ...

    async def publish(self, channel: str, data: Any) -> None: ...

    async def close(self) -> None: ...


class Reporter:
    """Keeps the latest sample at hand, and the channel supplied."""

    def __init__(
        self,
        make_client: Callable[[], Publisher],
        channel: str,
        take: Callable[[int], Sample],
        clock: Clock,
        interval_s: float,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        jitter: Callable[[], float] = lambda: random.uniform(-1, 1),
    ) -> None:
        self._make_client = make_client
        self._channel = channel
        self._take = take
        self._clock = clock
        self._cadence = Cadence(interval_s)
        self._ring = Ring()
        self._changed = asyncio.Event()
        self._filled = asyncio.Event()
        self._pause = pause
        self._jitter = jitter
        self._seq = 0
        self.latest: Sample | None = None

    @property
    def waiting(self) -> int:
        """Samples that wait for the network."""
        return len(self._ring)

    def changed(self) -> None:
        """Something worth telling happened."""
        self._cadence.changed()
        self._changed.set()

    async def sample_for_ever(self) -> None:
        """Takes samples whether or not anybody can be told; `latest` and the ring hold them."""
        while True:
            now = self._clock.monotonic()
            if self._cadence.take(now, self._jitter()):
                self.latest = self._take(self._seq)
                self._seq += 1
                self._ring.put(self.latest)
                self._filled.set()
            await self._wait_for_deadline()

    async def _wait_for_deadline(self) -> None:
        wait_s = max(0.0, self._cadence.deadline - self._clock.monotonic())
        timer = asyncio.ensure_future(self._pause(wait_s))
        changed = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait([timer, changed], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._changed.clear()
            timer.cancel()
            changed.cancel()
            await asyncio.wait([timer, changed])

    async def run(self, report: Report) -> None:
        """The part: connects and drains the ring until cancelled."""
        sampler = asyncio.create_task(self.sample_for_ever(), name="telemetry:sample")
        client = self._make_client()
        try:
            await client.connect()
            report.up()
            while True:
                await self._drain(client, report)
                self._filled.clear()
                await self._filled.wait()
        finally:
            sampler.cancel()
            await asyncio.wait([sampler])
            await client.close()

    async def _drain(self, client: Publisher, report: Report) -> None:
        while (sample := self._ring.first()) is not None:
            # The newest of them is not late: it is told as soon as it is known.
            fresh = self.latest is not None and sample.seq == self.latest.seq
            message = to_message(self.latest) if fresh and self.latest is not None else to_message(sample)
            try:
                async with asyncio.timeout(PUBLISH_DEADLINE_S):
                    await client.publish(self._channel, message)
            except (EdgeNodeError, TimeoutError) as err:
                report.down(f"telemetry waits for the channel ({err or 'no answer'})")
                await self._pause(OFFLINE_RETRY_S)
                continue
            report.up()
            self._ring.sent(sample)
