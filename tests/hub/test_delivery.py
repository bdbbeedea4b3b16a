"""Messages on their way out, over a plain connection and over TLS: in order, complete, bounded."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from edge_node.hub.server import Hub
from tests.support.hub_client import Client, client, running_hub
from tests.support.waiting import eventually

FAST = {"messages_per_s": 10_000, "burst": 10_000}


@asynccontextmanager
async def place(kind: str, folder: Path, **limits: Any) -> AsyncIterator[tuple[Hub, Client, Client, dict[str, Any]]]:
    """A hub with somebody who talks and somebody who listens in "home", and the options for more clients."""
    values: dict[str, Any] = {"limits": FAST | limits}
    if kind == "tls":
        values |= {"state_dir": folder, "tls": {"self_made": True}}
    async with running_hub(**values) as hub:
        trust = ssl.create_default_context(cafile=folder / "tls" / "ca.crt") if kind == "tls" else None
        options: dict[str, Any] = {"ssl": trust}
        async with client(hub, **options) as talker, client(hub, **options) as reader:
            await reader.join("home")
            yield hub, talker, reader, options


@pytest.mark.parametrize("kind", ["plain", "tls"])
async def test_a_client_that_pauses_gets_everything_in_order(kind: str, tmp_path: Path) -> None:
    """Small frames go straight out, others queue behind what is held back: nobody overtakes."""
    draw = Random(1)
    sizes: list[int] = []
    async with (
        place(kind, tmp_path, queue_messages=4096, queue_bytes=1 << 26) as (hub, talker, reader, options),
        client(hub, max_queue=1, **options) as slow,
    ):
        await slow.say(type="subscribe", channel="home")
        await reader.until("presence")
        while hub._switchboard.totals.deepest < 50:
            sizes.append(draw.choice((0, 1, 125, 126, 5_000, 60_000)))
            await talker.say(type="publish", channel="home", data=[len(sizes), "x" * sizes[-1]])
            await reader.until("message")
            assert len(sizes) < 4000, "the hub never had to queue anything"
        for number, size in enumerate(sizes, start=1):
            assert (await slow.until("message"))["data"] == [number, "x" * size]
        await talker.say(type="publish", channel="home", data="now")
        assert (await slow.until("message"))["data"] == "now"


@pytest.mark.parametrize("kind", ["plain", "tls"])
async def test_a_client_that_never_reads_is_closed_with_1008(kind: str, tmp_path: Path) -> None:
    async with place(kind, tmp_path, queue_messages=20) as (hub, talker, reader, options):
        totals = hub._switchboard.totals
        async with client(hub, max_queue=1, **options) as slow:
            await slow.say(type="subscribe", channel="home")
            await reader.until("presence")
            for _ in range(1000):
                await talker.say(type="publish", channel="home", data="x" * 60_000)
                await reader.until("message")
                if totals.too_slow:
                    break
            assert (await reader.until("presence"))["left"] == [{"peerId": slow.peer_id}]
            assert await slow.close_code() == 1008
        await eventually(lambda: totals.closed[1008] == 1)
        assert 20 <= totals.thrown_away < 100 and totals.deepest == 20
