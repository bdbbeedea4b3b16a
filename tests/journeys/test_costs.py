"""What a viewer costs, by what was opened and counted: an RTSP camera is not decoded, a picture is encoded once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import av
import pytest

from edge_node.hub.config import hub_config
from edge_node.hub.server import Hub
from edge_node.media import video_encoder
from edge_node.node.build import build_node
from edge_node.node.node import Node
from edge_node.settings import from_dict
from tests.support.process import Child
from tests.support.waiting import eventually

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

KEY = "pk_live_costs_0123456789"
CHANNEL = "home/front-door"


@asynccontextmanager
async def running_node(hub: Hub, video: dict[str, Any]) -> AsyncIterator[Node]:
    settings = from_dict(
        {
            "node": {"id": "front-door"},
            "channel": {"url": hub.url, "name": CHANNEL, "api_key": KEY},
            "video": video,
            "audio": {"microphone": "test", "speaker": "none"},
            "gpio": {"driver": "none"},
        }
    )
    node = build_node(settings)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    hub = Hub(hub_config({"port": 0, "dev_key": KEY}))
    await hub.start()
    try:
        yield hub
    finally:
        await hub.stop(1.0)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of all codecs that this process opens through PyAV, `file` for containers."""
    names: list[str] = []
    create, open_container = av.CodecContext.create, av.open

    def spy_create(codec: Any, mode: Any = None, **words: Any) -> Any:
        names.append(str(getattr(codec, "name", codec)))
        return create(codec, mode, **words)

    def spy_open(*words: Any, **named: Any) -> Any:
        names.append("file")
        return open_container(*words, **named)

    monkeypatch.setattr(av.CodecContext, "create", spy_create)
    monkeypatch.setattr(av, "open", spy_open)
    return names


def viewers(hub: Hub, count: int) -> list[Child]:
    where = ("--url", hub.url, "--key", KEY, "--channel", CHANNEL)
    return [Child.module("tests.support.official_viewer", *where) for _ in range(count)]


async def watched_for(child: Child, seconds: int) -> None:
    """Returns when the viewer has decoded that many seconds of pictures."""

    def seen() -> int:
        return sum(e["event"] == "second" and e["kind"] == "video" for e in child.events)

    await eventually(lambda: seen() >= seconds, timeout_s=60)


async def test_an_rtsp_camera_is_handed_through_to_two_viewers_without_any_video_codec(
    hub: Hub, opened: list[str]
) -> None:
    async with Child.module("tests.support.rtsp_server", "--make", "640x360@25") as camera:
        url = (await camera.line("ready", timeout_s=60)).split()[1]
        async with running_node(hub, {"source": "rtsp", "url": url}) as node:
            first, second = viewers(hub, 2)
            async with first, second:
                await asyncio.gather(watched_for(first, 2), watched_for(second, 2))
                video = node.status()["video"]
    assert video["viewers"] == 2
    assert video["encoder"] == "passthrough"
    assert (video["width_px"], video["height_px"]) == (640, 360)
    assert set(opened) <= {"libopus", "opus"}, f"no picture was decoded or encoded here: {opened}"


async def test_two_viewers_of_the_test_picture_cost_one_encode(
    hub: Hub, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine takes pictures at another pace now and then, for which the encoder is opened anew.
    monkeypatch.setattr(video_encoder, "RATE_OFF", math.inf)
    async with running_node(hub, {"source": "test", "width_px": 640, "height_px": 360, "fps": 15}) as node:
        first, second = viewers(hub, 2)
        async with first, second:
            await asyncio.gather(watched_for(first, 2), watched_for(second, 2))
            video = node.status()["video"]
    assert video["viewers"] == 2
    assert opened.count("libx264") == 1, opened
    assert "h264" not in opened
    assert video["fps"] <= 16, "each picture went through the encoder once"
