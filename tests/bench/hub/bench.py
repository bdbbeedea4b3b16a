"""The bench of the hub: a crowd with presence, then a fan-out side by side with mosquitto."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.hub import servers
from tests.bench.hub.dialects import DIALECTS, Dialect, stamped
from tests.bench.hub.servers import Running
from tests.bench.hub.wire import frames
from tests.bench.runner import Report, cpu_s, median
from tests.support.process import Child, rss_mb

SETTLE_TIMEOUT_S = 60.0
# Longer than the hub lets a client be silent before it pings (30 s): the pings are part of the cost.
CALM_S = 35.0
ROUND_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything: `members` per channel in the crowd, `rate` in messages per second, `data_bytes` each."""

    clients: int = 5000
    members: int = 50
    subscribers: int = 1000
    rounds: int = 5
    messages: int = 75
    rate: float = 15
    data_bytes: int = 200
    calm_s: float = CALM_S


QUICK = Sizes(clients=50, members=10, subscribers=50, rounds=1, messages=10, rate=100, calm_s=0.1)


class CrowdProcess:
    """The handle of one `tests.bench.hub.crowd`."""

    def __init__(self, child: Child) -> None:
        self._child = child

    async def ask(self, **command: Any) -> dict[str, Any]:
        """Its answer to one command, within twenty seconds on top of the command's own timeout_s."""
        seen = len(self._child.events)
        self._child.say(json.dumps(command))
        return await self._child.event(lambda e: True, since=seen, timeout_s=20 + command.get("timeout_s", 0))

    async def join(self, server: Running, count: int, first: int, members: int, channel: str) -> None:
        await self.ask(
            do="join",
            server=server.name,
            port=server.port,
            count=count,
            first=first,
            members=members,
            channel=channel,
        )

    async def until(self, server: Running, what: str, least: int, timeout_s: float) -> None:
        """Waits until its clients have seen that much. Raises RuntimeError when they have not, or were cut off."""
        counts = await self.ask(do="await", server=server.name, what=what, least=least, timeout_s=timeout_s)
        if counts[what] < least or counts["lost"]:
            raise RuntimeError(f"{server.name}: {counts} where {least} {what} were expected within {timeout_s:g} s")


async def _crowds(stack: AsyncExitStack, count: int) -> list[CrowdProcess]:
    children = [Child.module("tests.bench.hub.crowd") for _ in range(count)]
    return [CrowdProcess(await stack.enter_async_context(child)) for child in children]


async def crowd(report: Report, sizes: Sizes, folder: Path) -> None:
    """Clients with presence in channels of `members`: memory and CPU of the hub with all of them."""
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(servers.hub(folder))
        crowds = await _crowds(stack, 2)
        empty_mb, started, cpu_before = rss_mb(server.pid), time.monotonic(), cpu_s(server.pid)
        half = sizes.clients // (2 * sizes.members) * sizes.members
        parts = [(crowds[0], half, 0), (crowds[1], sizes.clients - half, half)]
        for process, count, first in parts:
            await process.join(server, count, first, sizes.members, "bench")
        for process, count, _ in parts:
            await process.until(server, "joined", count, SETTLE_TIMEOUT_S)
        seconds = time.monotonic() - started
        for process, count, first in parts:
            others = _pairs(count, first, sizes)
            await process.until(server, "others", others, SETTLE_TIMEOUT_S)
        joining_s = cpu_s(server.pid) - cpu_before
        calm_cpu_s = cpu_s(server.pid)
        await asyncio.sleep(sizes.calm_s)
        calm_cpu_s = cpu_s(server.pid) - calm_cpu_s
        kb = (rss_mb(server.pid) - empty_mb) * 1000 / sizes.clients
    report.add("clients", sizes.clients, "", f"each knows the {sizes.members - 1} others in its channel")
    report.add("joining rate", sizes.clients / seconds, "clients/s", "from connect to roster")
    report.add("joining cpu", joining_s / sizes.clients * 1000, "ms/client", "of the hub's process")
    report.add("memory", kb, "kB/client", f"over {empty_mb:.0f} MB of the empty hub")
    report.add("idle cpu", 100 * calm_cpu_s / sizes.calm_s, "%", "of one CPU, keep-alive included")


def _pairs(count: int, first: int, sizes: Sizes) -> int:
    """How many other peers these clients hear of in all, when everybody hears of everybody in the same channel."""
    total = 0
    for start in range(first, first + count, sizes.members):
        present = min(sizes.members, sizes.clients - start)
        total += present * (present - 1)
    return total


class Publisher:
    """One client that only publishes, evenly in time."""

    def __init__(self, server: Running, dialect: Dialect) -> None:
        self._server = server
        self._dialect = dialect

    async def __aenter__(self) -> Publisher:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._server.port)
        self._writer.write(self._dialect.upgrade(self._server.port))
        await self._reader.readuntil(b"\r\n\r\n")
        self._writer.write(self._dialect.join(10**6, "bench/publisher"))
        buffer = bytearray()
        while not any(self._dialect.joined(payload) for _, payload in frames(buffer)):
            buffer += await self._reader.read(65536)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def publish(self, channel: str, sizes: Sizes) -> None:
        loop = asyncio.get_running_loop()
        start = loop.time()
        for index in range(sizes.messages):
            await asyncio.sleep(start + index / sizes.rate - loop.time())
            self._writer.write(self._dialect.publish(channel, stamped(time.monotonic_ns(), sizes.data_bytes)))


@dataclass(frozen=True, slots=True)
class Round:
    """One server's part of one round: `cpu_us` per delivered message, delays in milliseconds."""

    cpu_us: float
    p50_ms: float
    p99_ms: float


async def _round(server: Running, process: CrowdProcess, publisher: Publisher, sizes: Sizes) -> Round:
    expected = sizes.messages * sizes.subscribers
    await process.ask(do="reset", server=server.name)
    before = cpu_s(server.pid)
    await publisher.publish("bench/0", sizes)
    await process.until(server, "received", expected, ROUND_TIMEOUT_S)
    used = cpu_s(server.pid) - before
    delays = (await process.ask(do="delays", server=server.name))["delays_ms"]
    return Round(used / expected * 1e6, delays["p50"], delays["p99"])


async def fan_out(report: Report, sizes: Sizes, folder: Path) -> None:
    """One publisher, many subscribers; our hub and mosquitto take turns, so that the machine's moods hit both."""
    async with AsyncExitStack() as stack:
        running = [await stack.enter_async_context(servers.hub(folder))]
        if servers.mosquitto_path() is None:
            report.reasons.append("mosquitto is not installed: apt-get install mosquitto, to compare with it")
        else:
            running.append(await stack.enter_async_context(servers.mosquitto(folder)))
        (process,) = await _crowds(stack, 1)
        publishers: dict[str, Publisher] = {}
        for server in running:
            await process.join(server, sizes.subscribers, 0, sizes.subscribers, "bench")
            await process.until(server, "joined", sizes.subscribers, SETTLE_TIMEOUT_S)
            publishers[server.name] = await stack.enter_async_context(Publisher(server, DIALECTS[server.name]))
        rounds: dict[str, list[Round]] = {server.name: [] for server in running}
        for _ in range(sizes.rounds):
            for server in running:
                rounds[server.name].append(await _round(server, process, publishers[server.name], sizes))
    _report_rounds(report, sizes, rounds)


def _report_rounds(report: Report, sizes: Sizes, rounds: dict[str, list[Round]]) -> None:
    each = f"{sizes.rounds} rounds of {sizes.messages} messages of {sizes.data_bytes} B at {sizes.rate:g}/s"
    report.add("subscribers", sizes.subscribers, "", each)
    for name, found in rounds.items():
        report.add(f"{name} cpu", median([r.cpu_us for r in found]), "µs/message", "per delivered message")
        report.add(f"{name} delay p50", median([r.p50_ms for r in found]), "ms", "from publish to the client's read")
        report.add(f"{name} delay p99", median([r.p99_ms for r in found]), "ms")
    if "mosquitto" not in rounds:
        return
    pairs = list(zip(rounds["hub"], rounds["mosquitto"], strict=True))
    report.add("cpu ratio", _ratio([(a.cpu_us, b.cpu_us) for a, b in pairs]), "x", "hub / mosquitto, median of rounds")
    report.add("p99 ratio", _ratio([(a.p99_ms, b.p99_ms) for a, b in pairs]), "x", "hub / mosquitto, median of rounds")


def _ratio(pairs: list[tuple[float, float]]) -> float:
    """Rounds in which the clock's grain hid one side are left out."""
    return median([a / b for a, b in pairs if b > 0] or [0.0])
