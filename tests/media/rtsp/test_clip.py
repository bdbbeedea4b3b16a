"""The clips and the server process that journeys rely on."""

from __future__ import annotations

import io
import signal
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from edge_node.media.rtsp.source import RtspSource
from tests.media.rtsp.viewing import Viewer, running
from tests.support.h264_clip import Clip, load_clip, make_clip, read_counter
from tests.support.process import Child
from tests.support.waiting import eventually


def counters(annexb: bytes) -> list[int]:
    with av.open(io.BytesIO(annexb), "r", format="h264") as container:
        return [
            read_counter(np.asarray(frame.to_ndarray(format="gray"), np.uint8)) for frame in container.decode(video=0)
        ]


def test_every_picture_carries_its_number() -> None:
    assert counters(make_clip(320, 192, 30, seconds=1, kbps=300)) == list(range(30))


def test_containers_are_read(tmp_path: Path, clip: Clip) -> None:
    annexb = b"".join(b"\0\0\0\1" + nal for unit in clip.units for nal in unit)
    path = tmp_path / "clip.mp4"
    with av.open(io.BytesIO(annexb), "r", format="h264") as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(p for p in source.demux(video=0) if p.size):
            packet.pts = packet.dts = number * 3000
            packet.time_base = Fraction(1, 90_000)
            packet.stream = stream
            target.mux(packet)
    loaded = load_clip(path)
    slices = [[nal for nal in unit if nal[0] & 0x1F in (1, 5)] for unit in clip.units]
    assert [[nal for nal in unit if nal[0] & 0x1F in (1, 5)] for unit in loaded.units] == slices


async def test_the_server_process_freezes_closes_and_stops(tmp_path: Path) -> None:
    path = tmp_path / "clip.h264"
    path.write_bytes(make_clip(96, 96, 30, seconds=0.5, kbps=100))
    words = ["--clip", str(path), "--user", "u", "--password", "p"]
    async with Child.module("tests.support.rtsp_server", *words) as child:
        url = (await child.line("ready rtsp://")).split()[1]
        assert url.startswith("rtsp://u:p@127.0.0.1:")
        source, viewer = RtspSource(url, stall_s=0.5), Viewer()
        async with running(source, viewer) as task:
            await viewer.more(2)
            child.signal(signal.SIGUSR1)
            await eventually(task.done)
            assert "sent no pictures" in str(task.exception())
        child.signal(signal.SIGUSR1)
        async with running(source, viewer) as task:
            await viewer.more(2)
            child.signal(signal.SIGUSR2)
            await eventually(task.done)
            assert "the connection" in str(task.exception())
        child.signal(signal.SIGTERM)
        assert await child.end() == 0
