"""Defects D12, D13, D30, D35 of the reference: sources that open blindly, run for nobody, never come back."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError

from edge_node import AudioSource, MediaStream, StdlibLogger, from_file, from_microphone, from_rtsp, iter_frames
from edge_node.dsp.tone import Tone as Sine
from edge_node.errors import DeviceMissing, LoginRefused, SourceLost
from edge_node.media import player
from edge_node.media.player import Feeding, MediaSource, PlayerTrack
from edge_node.media.player_input import Kind, MediaInput, media_file
from edge_node.media.player_queue import FrameQueue
from edge_node.media.player_reader import LiveReader
from tests.support.films import make_film
from tests.support.h264_clip import Clip, clip_of, make_clip
from tests.support.hub_client import running_hub
from tests.support.peers import Watcher, hear_hz, hears, peer_of
from tests.support.pulse import pulse_lab
from tests.support.rtsp_server import RtspServer
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from av.container.input import InputContainer

LIMIT_S = 30.0
LAB = "testsrc=size=160x120:rate=30,realtime[out0];sine=frequency=600,arealtime[out1]"


class Lab:
    """FFmpeg's test input as a device that can be away or in use."""

    def __init__(self, *kinds: Kind) -> None:
        self.refusals: list[int] = []
        """Error numbers of the next attempts to open it."""
        self.options: list[dict[str, str]] = []
        self.source = MediaInput("/dev/lab", "the lab", "v4l2", {"framerate": "30"}, kinds or None)
        self.reader = LiveReader(self.source, self._open)
        tracks = [PlayerTrack(kind, None) for kind in kinds or ("audio", "video")]
        self.media = MediaSource("the lab", [Feeding("the lab", self.reader, tracks, None)])

    def _open(self, source: MediaInput, options: dict[str, str]) -> InputContainer:
        self.options.append(options)
        if self.refusals:
            number = self.refusals.pop(0)
            raise av.error.OSError(number, "refused by the test")
        return av.open(LAB, format="lavfi")

    @property
    def is_open(self) -> bool:
        return self.reader._inside


async def read(track: Any, count: int) -> list[Any]:
    async with asyncio.timeout(LIMIT_S):
        return [await track.recv() for _ in range(count)]


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_of(make_clip(160, 120, 30, seconds=1, gop_s=0.25, kbps=200), 30)


@asynccontextmanager
async def camera(clip: Clip, **options: Any) -> AsyncIterator[RtspServer]:
    """A network camera without sound."""
    described = RtspServer(clip).sdp.split("m=audio")[0]
    async with RtspServer(clip, sdp=described, **options) as server:
        yield server


# D12


async def test_d12_a_device_is_open_while_somebody_listens_and_not_longer() -> None:
    lab = Lab()
    async with running_hub() as hub:
        node = peer_of(hub, "node")
        assert lab.media.audio is not None and lab.media.video is not None
        node.add_stream(MediaStream([lab.media.audio, lab.media.video], id="lab"))
        await node.join("room")
        for name in ("first", "second"):
            other = peer_of(hub, name)
            watcher = Watcher(other)
            assert not lab.is_open and not lab.options
            await other.join("room")
            await hears(await watcher.track("audio"), 600)
            await read(await watcher.track("video"), 3)
            assert lab.is_open
            await other.close()
            await eventually(lambda: not node.remote_peers)
            await eventually(lambda: not lab.is_open)
            lab.options.clear()
        await node.close()
    await lab.media.close()


async def test_d12_a_program_that_stopped_asking_lets_the_device_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player, "IDLE_S", {True: 0.3, False: 0.3})
    lab = Lab("video")
    assert lab.media.video is not None
    async for frame in iter_frames(lab.media.video):
        assert frame.width == 160
        break
    await eventually(lambda: not lab.is_open)
    earlier = frame.pts
    assert (await lab.media.video.recv()).pts > earlier
    await lab.media.close()


# D13


async def test_d13_a_voice_in_an_empty_room_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    async with running_hub() as hub:
        agent, other = peer_of(hub, "agent"), peer_of(hub, "other")
        watcher = Watcher(other)
        voice = AudioSource(input_rate=48_000, max_buffered_seconds=0.2, unheard="drop", logger=StdlibLogger())
        agent.add_track(voice)
        await agent.join("room")
        async with asyncio.timeout(LIMIT_S):
            await voice.push(Sine(500.0, 0.5).block(3 * 48_000).tobytes())
        assert voice.dropped_seconds == pytest.approx(2.8, abs=0.05)
        assert voice.buffered_seconds == pytest.approx(0.2, abs=0.03)
        assert "nobody listens" in caplog.text
        await other.join("room")
        track = await watcher.track("audio")
        await hear_hz(track, frames=1)
        dropped = voice.dropped_seconds
        push = asyncio.ensure_future(voice.push(Sine(500.0, 0.5).block(48_000).tobytes()))
        await hears(track, 500)
        async with asyncio.timeout(LIMIT_S):
            await push
        assert voice.dropped_seconds == dropped, "somebody listens"
        await agent.close()
        await other.close()
        voice.stop()


# D30: network cameras


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_d30_a_network_camera_comes_back_by_itself(clip: Clip, transport: str) -> None:
    async with camera(clip) as server, from_rtsp(server.url, transport=transport) as source:
        assert (await source.opened()) is source
        assert source.audio is None and source.video is not None and source.error is None
        before = await read(source.video, 5)
        await server.kick()
        after = await read(source.video, 10)
        stamps = [frame.pts for frame in before + after]
        assert stamps == sorted(set(stamps)) and {frame.width for frame in after} == {160}
        assert source.losses >= 1 and server.seen.connections >= 2
        source.stop()
        await eventually(lambda: server.playing == 0)
        with pytest.raises(MediaStreamError):
            await source.video.recv()


async def test_d30_a_frozen_camera_is_opened_again(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player, "STALL_S", 0.6)
    async with camera(clip) as server, from_rtsp(server.url) as source:
        assert source.video is not None
        await read(source.video, 3)
        server.faults.frozen = True
        waiting = asyncio.ensure_future(read(source.video, 10))
        await eventually(lambda: source.losses == 1)
        assert source.error is not None and "sent nothing" in source.error
        server.faults.frozen = False
        await waiting
        await eventually(lambda: source.error is None)


async def test_d30_a_camera_that_is_away_or_mute_blocks_nothing_but_its_reader(clip: Clip) -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set_result(writer)
        await reader.read()

    connected: asyncio.Future[asyncio.StreamWriter] = asyncio.get_running_loop().create_future()
    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = from_rtsp(f"rtsp://user:secret@127.0.0.1:{port}/x")
    assert source.video is not None and source.audio is not None, "nobody knows yet"
    waiting = asyncio.ensure_future(source.video.recv())
    await connected
    with pytest.raises(SourceLost, match="did not begin"):
        await source.opened(0.05)
    assert not waiting.done() and "secret" not in repr(source)
    source.stop()
    with pytest.raises(MediaStreamError):
        await waiting
    await source.close()
    connected.result().close()
    await connected.result().wait_closed()
    server.close()
    async with from_rtsp(f"rtsp://127.0.0.1:{port}/x") as gone:
        with pytest.raises(SourceLost, match="cannot be played"):
            await gone.opened()


async def test_d30_a_wrong_password_is_said_and_not_told(clip: Clip, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with camera(clip, user="admin", password="right", scheme="legacy") as server:
        async with from_rtsp(server.url) as source:
            await source.opened()
        async with from_rtsp(server.url.replace("right", "wr0ng")) as refused:
            with pytest.raises(LoginRefused, match="password"):
                await refused.opened()
            assert refused.error is not None and "wr0ng" not in refused.error
    assert "wr0ng" not in caplog.text and "right" not in caplog.text


# D30: devices


async def test_d30_a_camera_that_is_plugged_in_later_plays(caplog: pytest.LogCaptureFixture) -> None:
    lab = Lab("video")
    lab.refusals = [errno.ENOENT, errno.EBUSY, errno.EINVAL]
    assert lab.media.video is not None
    with pytest.raises(DeviceMissing, match="plug it in"):
        await lab.media.opened()
    frames = await read(lab.media.video, 3)
    assert [f.width for f in frames] == [160] * 3 and lab.media.losses == 2
    await eventually(lambda: lab.media.error is None)
    assert lab.options[-2:] == [{"framerate": "30", "input_format": "mjpeg"}, {"framerate": "30"}]
    assert "in use by another program" in caplog.text
    lab.media.stop()
    await eventually(lambda: not lab.is_open)


async def test_d30_a_driver_that_holds_on_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player, "FIRST_S", 0.2)
    monkeypatch.setattr("edge_node.media.player_reader.GRACE_S", 0.1)
    lab, free = Lab("video"), threading.Event()

    def stuck(source: MediaInput, options: dict[str, str]) -> InputContainer:
        free.wait(LIMIT_S)
        raise av.error.OSError(errno.EIO, "let go")

    lab.reader._open_input = stuck
    assert lab.media.video is not None
    waiting = asyncio.ensure_future(lab.media.video.recv())
    await eventually(lambda: "does not let go" in (lab.media.error or ""))
    lab.media.stop()
    with pytest.raises(MediaStreamError):
        await waiting
    free.set()
    await eventually(lambda: not lab.is_open)
    await lab.media.close()


@pytest.mark.pulse
async def test_d30_the_microphone_is_the_systems_also_behind_a_sound_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with pulse_lab() as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        lab.play_into_mic(Sine(600.0, 0.5).block(20 * 48_000))
        async with from_microphone() as source:
            assert source.audio is not None
            await hears(source.audio, 600)
            frame: Any = await source.audio.recv()
            assert (frame.samples, frame.sample_rate, frame.layout.name) == (960, 48_000, "stereo")


# D30: files


def test_d30_a_file_that_cannot_be_played_says_why(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "empty.wav").touch()
    for name, kind, text in (
        ("none.mp4", FileNotFoundError, "does not exist"),
        (".", IsADirectoryError, "is a folder"),
        ("text.mp4", ValueError, "nothing that can be played"),
        ("empty.wav", ValueError, "nothing that can be played"),
        ("concat:a|b", FileNotFoundError, "does not exist"),
    ):
        with pytest.raises(kind, match=text):
            from_file(tmp_path / name)


async def test_d30_a_loop_goes_on_as_one_and_a_pause_is_a_pause(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", 0.5)
    async with from_file(str(film), loop=True) as source:
        assert source.audio is not None and source.video is not None
        sound, pictures = await asyncio.gather(read(source.audio, 75), read(source.video, 45))
        assert np.diff([f.pts for f in sound]).tolist() == [960] * 74
        steps = np.diff([f.pts for f in pictures])
        assert steps.min() > 0 and float(pictures[-1].time) == pytest.approx(1.5, abs=0.1)
        clock = source._feedings[0]._clock
        assert clock is not None
        clock._asked_at -= 100.0  # as if nobody had asked for so long
        clock._began = (clock._began or 0.0) - 100.0
        assert (await source.audio.recv()).pts == 75 * 960 and source.dropped == 0


async def test_d30_a_listener_who_comes_late_joins_where_the_others_are(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.mp4", 4.0)
    async with from_file(film) as source:
        assert source.audio is not None and source.video is not None
        await read(source.audio, 1)
        clock = source._feedings[0]._clock
        assert clock is not None and clock._began is not None
        clock._began -= 2.0  # as if the sound had been heard for 2 s
        assert (await read(source.video, 1))[0].time >= 1.9
        await read(source.audio, 20)
        assert source.dropped >= 20, "the sound catches up with the pictures"


async def test_d30_a_broken_file_ends(tmp_path: Path) -> None:
    film = make_film(tmp_path / "film.wav", 0.2, video=False)
    source = from_file(film)
    film.unlink()
    assert source.audio is not None
    assert [frame async for frame in iter_frames(source.audio)] == []
    assert source.error is not None and "is not there" in source.error
    await source.close()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


async def test_d30_a_file_behind_http_plays_without_its_secrets_in_the_log(tmp_path: Path, web: str) -> None:
    make_film(tmp_path / "film.wav", 0.2, video=False)
    async with from_file(f"http://user:secret@{web}/film.wav?token=secret") as source:
        assert "secret" not in repr(source)
        await source.opened()
        assert source.video is None and source.audio is not None
        assert len([frame async for frame in iter_frames(source.audio)]) == 10
    assert media_file(f"http://user:secret@{web}/film.wav").label == "http://127.0.0.1/film.wav"
    async with from_file(f"http://{web}/none.wav?token=secret") as absent:
        with pytest.raises(SourceLost, match="Not Found") as failed:
            await absent.opened()
        assert "secret" not in str(failed.value)


# D35


async def test_d35_what_waits_is_bounded_and_what_is_dropped_is_counted() -> None:
    queue = FrameQueue(3)
    frames = [av.VideoFrame(16, 16, "gray") for _ in range(5)]
    for frame in frames:
        queue.put(frame)
    assert len(queue) == 3 and queue.dropped == 2
    assert [await queue.get() for _ in range(3)] == frames[2:]
    queue.end()
    assert await queue.get() is None
    lab = Lab("audio")
    assert lab.media.audio is not None
    await read(lab.media.audio, 1)
    await eventually(lambda: lab.media.dropped > 5)
    assert len(lab.media._feedings[0].tracks[0].queue) <= 15
    await lab.media.close()
