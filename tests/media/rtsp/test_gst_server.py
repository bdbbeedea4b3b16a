"""The client against GStreamer's RTSP server: somebody else's idea of the protocol."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from edge_node.errors import SourceLost
from edge_node.media.rtsp.client import RtspTransport
from edge_node.media.rtsp.source import RtspSource
from tests.media.rtsp.viewing import Viewer, running
from tests.support.process import Child
from tests.support.waiting import eventually

PYTHON = "/usr/bin/python3"
PROBE = (
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0'); "
    "from gi.repository import Gst, GstRtspServer; Gst.init(None); "
    "assert all(Gst.ElementFactory.find(n) for n in ('x264enc', 'rtph264pay', 'vp8enc'))"
)


def installed() -> bool:
    try:
        return subprocess.run([PYTHON, "-c", PROBE], capture_output=True, timeout=30, check=False).returncode == 0
    except OSError:
        return False


pytestmark = pytest.mark.skipif(
    not installed(),
    reason="needs Debian's gir1.2-gst-rtsp-server-1.0, python3-gi, gstreamer1.0-plugins-good and -ugly",
)


@asynccontextmanager
async def camera(*words: str) -> AsyncIterator[str]:
    """A camera's URL."""
    async with Child(PYTHON, str(Path(__file__).with_name("gst_camera.py")), *words) as child:
        yield (await child.line("ready rtsp://")).split()[1]


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_plays(transport: RtspTransport) -> None:
    async with camera() as url:
        source, viewer = RtspSource(url, transport=transport), Viewer()
        async with running(source, viewer):
            units = await viewer.more(45)
    assert units[0].keyframe
    assert sum(unit.keyframe for unit in units) >= 2
    assert {b.timestamp - a.timestamp for a, b in pairwise(units)} == {3000}
    assert source.profile_level_id is not None
    assert source.profile_level_id.startswith("42")
    assert source.counters.bad_packets == source.counters.lost_packets == 0


async def test_digest() -> None:
    async with camera("--login", "viewer:secret") as url:
        viewer = Viewer()
        async with running(RtspSource(url.replace("//", "//viewer:secret@")), viewer):
            await viewer.more(5)
        with pytest.raises(SourceLost, match="check the user name and the password"):
            await RtspSource(url.replace("//", "//viewer:wrong@")).run(viewer)


async def test_b_frames_are_noticed() -> None:
    async with camera("--stream", "b-frames") as url:
        source, viewer = RtspSource(url, stall_s=2), Viewer()
        async with running(source, viewer):
            await eventually(lambda: source.warning is not None, 30)
    assert source.warning is not None
    assert "B-frames" in source.warning


async def test_another_codec_is_refused() -> None:
    async with camera("--stream", "vp8") as url:
        with pytest.raises(SourceLost, match=r"neither H.264 .* \(video VP8\)"):
            await RtspSource(url).run(Viewer())
