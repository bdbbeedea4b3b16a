"""monitor: against a real hub, and its table."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from edge_node.cli.main import main
from edge_node.cli.monitor import Plan, Screen, follow
from edge_node.cli.monitor_text import render
from edge_node.errors import RetryLater
from edge_node.hub.config import hub_config
from edge_node.hub.server import Hub
from edge_node.realtime.client import SignallingClient
from edge_node.settings import Settings, from_dict
from edge_node.telemetry.sample import Sample, build, to_message
from edge_node.telemetry.table import Table

KEY = "pk_dev_monitor_test"


def sample(seq: int = 1, node: str = "front-door", **parts: Any) -> Sample:
    return build(node=node, at=1.0, seq=seq, uptime_s=1.0, **parts)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    one = Hub(hub_config({"port": 0, "dev_key": KEY}))
    await one.start()
    yield one
    await one.stop()


@pytest.fixture
async def publisher(hub: Hub) -> AsyncIterator[SignallingClient]:
    client = SignallingClient(url=hub.url, api_key=KEY)
    await client.connect()
    yield client
    await client.close()


def settings(hub: Hub, key: str = KEY) -> Settings:
    return from_dict({"channel": {"url": hub.url, "name": "monitor", "api_key": key}})


async def publish_until_cancelled(client: SignallingClient, *messages: object) -> None:
    """Again and again: whoever subscribes sees them all in order, sooner or later."""
    while True:
        for message in messages:
            await client.publish("telemetry/front-door", message)
        await asyncio.sleep(0.02)


@pytest.fixture
async def traffic(publisher: SignallingClient) -> AsyncIterator[None]:
    late = {**to_message(sample(5)), "late": True}
    others = ({"type": "call.ring"}, {"type": "telemetry", "v": 99}, late, to_message(sample(7)))
    task = asyncio.create_task(publish_until_cancelled(publisher, *others))
    yield
    task.cancel()
    await asyncio.wait([task])


async def test_samples_are_followed_and_late_ones_do_not_count(hub: Hub, traffic: None) -> None:
    seen: list[Sample] = []
    await follow(settings(hub), Plan("telemetry/front-door", 2, 10), seen.append)
    assert [one.seq for one in seen if not one.late] == [7, 7]
    assert 5 in [one.seq for one in seen]


async def test_a_pattern_follows_many_nodes(hub: Hub, traffic: None) -> None:
    seen: list[Sample] = []
    await follow(settings(hub), Plan("telemetry/*", 1, 10), seen.append)
    assert seen[-1].node == "front-door"


async def test_the_command_prints_one_true_sample(
    hub: Hub, traffic: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_NODE_CHANNEL__URL", hub.url)
    monkeypatch.setenv("EDGE_NODE_CHANNEL__API_KEY", KEY)
    words = ["monitor", "--channel", "telemetry/front-door", "--once"]
    assert await asyncio.to_thread(main, [*words, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1] == to_message(sample(7))
    assert await asyncio.to_thread(main, words) == 0
    assert "front-door" in capsys.readouterr().out


async def test_silence_is_told(hub: Hub) -> None:
    with pytest.raises(RetryLater, match=r"no sample came on telemetry/x within 0\.05 s"):
        await follow(settings(hub), Plan("telemetry/x", 1, 0.05), print)


async def test_a_wrong_key_is_told(hub: Hub) -> None:
    with pytest.raises(RetryLater, match=r"no way to .*4001"):
        await follow(settings(hub, "pk_live_unknown"), Plan("telemetry/x", 1, 10), print)


@pytest.mark.parametrize("channel", ["", "a\nb"])
def test_a_channel_that_is_none(
    channel: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_NODE_CHANNEL__URL", "ws://127.0.0.1:1")
    monkeypatch.setenv("EDGE_NODE_CHANNEL__API_KEY", KEY)
    assert main(["monitor", "--channel", channel, "--once"]) == 2
    assert "--channel does not fit" in capsys.readouterr().err
    assert main(["monitor", "--once"]) == 1
    assert "no way to ws://127.0.0.1:1" in capsys.readouterr().err


def test_the_table() -> None:
    table = Table()
    host = {"cpu_percent": 12.4, "soc_temp_c": 50.6, "throttled": ["under_voltage"], "wifi_rssi_dbm": -60}
    video = {"viewers": 2, "fps": 29.97, "kbps": 1800, "limited_by": "heat"}
    peers = [{"id": "a", "rtt_ms": 20.4, "loss_percent": 0.26}]
    table.update(sample(host=host, video=video, peers=peers, service={"degraded": ["mic: gone"]}), now=0.0)
    table.update(sample(node="evil\x1b[2J"), now=0.0)
    lines = render(table.rows(now=7.0), "telemetry/*", width=200)
    assert lines[0] == "telemetry/*: 2 nodes"
    assert " ".join(lines[1].split()) == "NODE STATE AGE VIEWERS FPS KBPS RTT LOSS CPU TEMP WI-FI NOTES"
    assert lines[2].split()[:9] == ["evil?[2J", "idle", "7", "s", "-", "-", "-", "-", "-"]
    expected = "front-door degraded 7 s 2 30.0 1800 20 ms 0.3 % 12 % 51 °C -60 dBm mic: gone; under_voltage"
    expected += "; picture limited by heat"
    assert lines[3].split() == expected.split()
    assert all(len(line) <= 30 for line in render(table.rows(now=7.0), "telemetry/*", width=30))
    assert "100 s" not in (text := render(table.rows(now=180.0), "c", 200)[2]) and "3 min" in text
    assert "2 h" in render(table.rows(now=7200.0), "c", 200)[2]
    assert render([], "c", 80) == ["c: waiting for the first sample"]


async def test_a_terminal_is_redrawn_in_place(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen("c", live=True, now=lambda: 1.0)
    task = asyncio.create_task(screen.refresh())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    screen.show(sample())
    text = capsys.readouterr().out
    assert text.count("\033[H\033[2J") == 2
    assert "waiting for the first sample" in text
    assert "front-door" in text
