"""`edge-node monitor`."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from edge_node.aio.emitter import EventStream
from edge_node.aio.tasks import cancel_and_wait
from edge_node.cli.common import config_or_none
from edge_node.cli.monitor_text import render
from edge_node.errors import RetryLater, SignallingConnectError, UsageError
from edge_node.host import journal
from edge_node.host.tokens import token_provider
from edge_node.protocol.names import channel_problem
from edge_node.realtime.client import SignallingClient
from edge_node.realtime.events import Message
from edge_node.realtime.wire import trust
from edge_node.settings import Settings, load
from edge_node.telemetry.sample import Sample, parse, to_message
from edge_node.telemetry.table import Table

REFRESH_S = 1.0
WAIT_S = 60.0
"""How long --once and --count wait for the next sample unless --wait says otherwise."""
HOME_AND_CLEAR = "\033[H\033[2J"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to follow until when: `count` samples, `wait_s` seconds of silence; None is for ever."""

    channel: str
    count: int | None
    wait_s: float | None


def main(args: argparse.Namespace) -> int:
    """Prints samples, or a table that keeps itself up to date, until --once, --count or SIGINT."""
    # A watcher joins no call: it needs no channel of its own.
    settings = load(config_or_none(args.config), defaults={"channel": {"name": "monitor"}})
    journal.set_up("warning")
    channel = settings.telemetry.channel if args.channel is None else args.channel
    if problem := channel_problem(channel):
        raise UsageError(f"--channel does not fit: {problem}")
    count = 1 if args.once else args.count
    wait_s = args.wait if args.wait is not None else WAIT_S if count else None
    plan = Plan(channel, count, wait_s)
    if args.json:
        asyncio.run(follow(settings, plan, print_json))
    else:
        live = sys.stdout.isatty()
        asyncio.run(_watch(settings, plan, Screen(channel, live), live))
    return 0


def print_json(sample: Sample) -> None:
    """One line, at once."""
    print(json.dumps(to_message(sample), ensure_ascii=False), flush=True)


async def follow(settings: Settings, plan: Plan, show: Callable[[Sample], None]) -> None:
    """Subscribes, gives each sample to `show`; samples that were late are history and do not count.

    Raises RetryLater on silence, and when the hub turns us away for good.
    """
    client = make_client(settings)
    try:
        messages = client.events(Message)
        await client.connect()
        await client.subscribe(plan.channel)
        seen = 0
        while plan.count is None or seen < plan.count:
            sample = await _next_sample(messages, plan)
            show(sample)
            seen += not sample.late
    except SignallingConnectError as err:
        raise RetryLater(f"no way to {settings.channel.url} ({err}): check the hub, and the credential") from None
    finally:
        await client.close()


def make_client(settings: Settings) -> SignallingClient:
    """A client of the settings' channel that outlives a hub's restart."""
    channel = settings.channel
    return SignallingClient(
        url=channel.url,
        api_key=channel.api_key.get_secret_value() if channel.api_key else None,
        token_provider=token_provider(channel),
        allow_insecure_lan=channel.allow_insecure_lan,
        connect=trust(channel.ca_file),
    )


async def _next_sample(messages: EventStream[Message], plan: Plan) -> Sample:
    try:
        async with asyncio.timeout(plan.wait_s):
            async for message in messages:
                sample = parse(message.data)
                if isinstance(sample, Sample):
                    return sample
    except TimeoutError:
        silence = f"no sample came on {plan.channel} within {plan.wait_s:g} s"
        raise RetryLater(f"{silence}: check that a node runs, and its telemetry.channel") from None
    raise RetryLater("the hub ended the connection for good: check the credential")


class Screen:
    """The table, redrawn in place on a terminal, else printed as a whole for every sample."""

    def __init__(self, channel: str, live: bool, now: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._live = live
        self._now = now
        self._table = Table()

    def show(self, sample: Sample) -> None:
        """Takes a sample in."""
        self._table.update(sample, self._now())
        self.draw()

    def draw(self) -> None:
        """Prints the table as of now."""
        width = shutil.get_terminal_size((120, 24)).columns if self._live else 200
        lines = render(self._table.rows(self._now()), self._channel, width)
        print((HOME_AND_CLEAR if self._live else "") + "\n".join(lines), flush=True)

    async def refresh(self) -> None:
        """Ages go on while nothing comes."""
        while True:
            self.draw()
            await asyncio.sleep(REFRESH_S)


async def _watch(settings: Settings, plan: Plan, screen: Screen, live: bool) -> None:
    refresh = asyncio.create_task(screen.refresh(), name="monitor:refresh") if live else None
    try:
        await follow(settings, plan, screen.show)
    finally:
        await cancel_and_wait(refresh)
