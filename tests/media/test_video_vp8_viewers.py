"""Real viewers that take VP8 only, each a process with the official SDK."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from edge_node.aio.clock import SystemClock
from edge_node.media.video_publication import VideoPublication
from edge_node.realtime.streams import MediaStream
from tests.media.test_video_vp8 import PLAN, VP8_PLAN, playing
from tests.support.hub_client import running_hub
from tests.support.peers import peer_of
from tests.support.process import Child
from tests.support.video_sink import StubSource
from tests.support.waiting import eventually


def sees(viewer: Child, after: float) -> Any:
    """Pictures flow at the viewer, in a second that began after `after`."""
    return viewer.event(
        lambda e: e.get("event") == "second" and e["kind"] == "video" and e["fps"] > 5 and e["t"] > after
    )


@pytest.mark.parametrize("coded", [True, False], ids=["handed through", "encoded here"])
async def test_two_of_them_share_one_encoder_and_disturb_nobody(coded: bool) -> None:
    async with running_hub() as hub, AsyncExitStack() as stack:
        published = VideoPublication(
            replace(PLAN, level="4.0"), SystemClock(), StubSource("rtsp" if coded else "test"), vp8_plan=VP8_PLAN
        )
        stack.push_async_callback(published.close)
        await stack.enter_async_context(playing(published, coded))
        node = peer_of(hub, "node")
        stack.push_async_callback(node.close)
        node.add_track(published.track, MediaStream(id="node:x"), {"role": "camera", "node": "x"})
        await node.join("room")
        viewers = []
        for words in ((), ("--without", "H264"), ("--without", "H264")):
            where = ("--url", hub.url, "--key", "pk_dev_test", "--channel", "room", *words)
            viewers.append(await Child.module("tests.support.official_viewer", *where).start())
            stack.push_async_callback(viewers[-1].stop)
        await eventually(lambda: published.stats().viewers == 3, 30)
        now = time.monotonic()
        await asyncio.gather(*(sees(viewer, now + 1) for viewer in viewers))
        stats, branch = published.stats(), published._vp8
        assert branch is not None and branch._encoder is not None
        assert (branch.viewers, branch._encoder.opened, stats.decodes) == (2, 1, int(coded))
        assert stats.encoder == ("passthrough, libvpx" if coded else "libx264, libvpx")
        if not coded:  # 1080p30 by the plan: more than the level 3.1 that aiortc names
            assert all("profile-level-id=42e028" in r.pc.localDescription.sdp for r in node.remote_peers)
        codecs = sorted(t._codecs[0].mimeType for r in node.remote_peers for t in r.pc.getTransceivers())
        assert codecs == ["video/H264", "video/VP8", "video/VP8"]
        for viewer in viewers[1:]:
            await viewer.stop()
        await eventually(lambda: published.stats().viewers == 1, 30)
        assert branch.own_views == 0
        await sees(viewers[0], time.monotonic())
