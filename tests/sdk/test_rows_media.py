"""Rows 97 to 112: sound that is pushed, sources, streams; most of them on the official SDK as well."""

from __future__ import annotations

import asyncio
import inspect
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import metered_realtime as official
import numpy as np
import pytest
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack

import edge_node
from edge_node import AudioSource, MediaStream, from_file, from_rtsp, iter_frames
from edge_node.dsp.pcm import Pcm
from edge_node.dsp.tone import Tone as Sine
from edge_node.media.player_input import capture
from tests.support.films import make_film
from tests.support.hub_client import running_hub
from tests.support.peers import Tone, Watcher, hears, peer_of
from tests.support.sound_checks import strongest_hz
from tests.support.waiting import eventually

LIMIT_S = 30.0
BOTH = pytest.mark.parametrize("sdk", [edge_node, official], ids=["ours", "official"])


def seconds(duration_s: float, rate: int = 16_000, frequency_hz: float = 440.0) -> bytes:
    return Sine(frequency_hz, 0.5, rate).block(int(duration_s * rate)).tobytes()


async def frames_until_end(source: Any) -> list[av.AudioFrame]:
    async with asyncio.timeout(LIMIT_S):
        return [frame async for frame in iter_frames(source)]


def left(frames: list[av.AudioFrame]) -> Pcm:
    return np.concatenate([frame.to_ndarray().reshape(-1)[::2] for frame in frames]).astype(np.int16)


# AudioSource


@BOTH
async def test_row_097_mono_or_stereo_at_any_rate_goes_in(sdk: Any) -> None:
    for layout in ("mono", "stereo"):
        source = sdk.AudioSource(input_rate=24_000, input_layout=layout, max_buffered_seconds=1.0, logger=None)
        assert (source.kind, source.readyState) == ("audio", "live")
        source.stop()
    with pytest.raises(ValueError, match="input_layout"):
        sdk.AudioSource(input_layout="5.1")
    ours, theirs = (dict(inspect.signature(s.AudioSource).parameters) for s in (edge_node, official))
    assert ours.pop("unheard").default == "wait"
    assert {n: p.default for n, p in ours.items()} == {n: p.default for n, p in theirs.items()}


@BOTH
@pytest.mark.parametrize(
    ("rate", "layout"), [(16_000, "mono"), (24_000, "mono"), (48_000, "stereo"), (44_100, "stereo")]
)
async def test_row_098_what_comes_out_is_20_ms_of_48_khz_stereo(sdk: Any, rate: int, layout: str) -> None:
    source = sdk.AudioSource(input_rate=rate, input_layout=layout)
    mono = np.frombuffer(seconds(0.3, rate), np.int16)
    await source.push((np.repeat(mono, 2) if layout == "stereo" else mono).tobytes())
    source.end()
    frames = await frames_until_end(source)
    assert [frame.pts for frame in frames] == [960 * n for n in range(len(frames))]
    assert {(f.samples, f.sample_rate, f.layout.name, f.format.name) for f in frames} == {
        (960, 48_000, "stereo", "s16")
    }
    assert frames[0].time_base is not None and frames[0].time_base.denominator == 48_000
    assert len(frames) in (15, 16), "all of it, the last frame filled up"
    assert strongest_hz(left(frames[:15])) == pytest.approx(440, abs=5)


@BOTH
async def test_row_099_bytes_may_be_cut_anywhere_and_nothing_is_nothing(sdk: Any) -> None:
    pcm = seconds(0.2)
    source, cut = sdk.AudioSource(), sdk.AudioSource()
    await source.push(pcm)
    for piece in (b"", pcm[:1], pcm[1:4], b"", pcm[4:999], pcm[999:]):
        await cut.push(piece)
    for each in (source, cut):
        each.end()
    whole, pieces = await asyncio.gather(frames_until_end(source), frames_until_end(cut))
    assert len(whole) == len(pieces)
    assert np.abs(left(whole).astype(int) - left(pieces)).max() <= 1


async def test_row_099_frames_of_any_format_go_in_and_are_left_as_they_were() -> None:
    source = AudioSource()
    samples = np.sin(2 * np.pi * 600 * np.arange(4410) / 44_100).astype(np.float32).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = 44_100
    frame.pts = 12_345
    await source.push(frame)
    assert frame.pts == 12_345
    await source.push(seconds(0.1, frequency_hz=600))
    source.end()
    assert strongest_hz(left((await frames_until_end(source))[:10])) == pytest.approx(600, abs=10)


@BOTH
async def test_row_100_push_waits_at_the_cap_even_within_one_push(sdk: Any) -> None:
    source = sdk.AudioSource(max_buffered_seconds=0.2)
    push = asyncio.ensure_future(source.push(seconds(1.0)))
    await eventually(lambda: source.buffered_seconds >= 0.18)
    for _ in range(5):
        assert not push.done()
        assert source.buffered_seconds <= 0.22
        await source.recv()
    source.end()
    async with asyncio.timeout(LIMIT_S):
        await push
    source.stop()


@BOTH
async def test_row_101_the_end_is_played_out_then_the_track_ends(sdk: Any) -> None:
    source = sdk.AudioSource()
    ended: list[bool] = []
    source.on("ended", lambda: ended.append(True))
    await source.push(seconds(0.05))
    source.end()
    source.end()
    assert len(await frames_until_end(source)) == 3
    assert source.readyState == "ended"
    assert ended == [True]
    await source.push(seconds(1.0))
    with pytest.raises(MediaStreamError):
        await source.recv()


@pytest.mark.parametrize("how", ["end", "stop", "clear"])
async def test_row_101_a_push_under_way_is_let_go(how: str) -> None:
    source = AudioSource(max_buffered_seconds=0.1)
    push = asyncio.ensure_future(source.push(seconds(2.0)))
    await eventually(lambda: source.buffered_seconds >= 0.1)
    getattr(source, how)()
    async with asyncio.timeout(LIMIT_S):
        await push
    if how != "end":
        assert source.buffered_seconds == 0.0
    if how == "clear":
        assert not (await source.recv()).to_ndarray().any(), "an interruption is silence at once"
        await source.push(seconds(0.1))
        assert source.buffered_seconds > 0.0
    source.stop()


@BOTH
async def test_row_102_without_sound_there_is_silence_and_the_track_lives(sdk: Any) -> None:
    source = sdk.AudioSource()
    assert not (await source.recv()).to_ndarray().any()
    await source.push(seconds(0.1))
    assert (await source.recv()).to_ndarray().any()
    assert source.readyState == "live"
    source.stop()


@BOTH
async def test_row_103_no_burst_after_a_stall(sdk: Any) -> None:
    source, loop = sdk.AudioSource(), asyncio.get_running_loop()
    await source.recv()
    stalled = loop.time() + 0.3
    await eventually(lambda: loop.time() > stalled)
    await source.recv()
    begin = loop.time()
    for _ in range(6):
        await source.recv()
    assert loop.time() - begin > 0.08, "frames for the time of the stall came at once"
    source.stop()


@BOTH
async def test_row_104_how_much_waits_is_known(sdk: Any) -> None:
    source = sdk.AudioSource()
    assert source.buffered_seconds == 0.0
    await source.push(seconds(0.5))
    assert source.buffered_seconds == pytest.approx(0.5, abs=0.02)
    await source.recv()
    assert source.buffered_seconds == pytest.approx(0.48, abs=0.02)
    source.stop()


@BOTH
async def test_row_105_pushes_stay_in_order(sdk: Any) -> None:
    source = sdk.AudioSource(input_rate=48_000, max_buffered_seconds=0.1)
    levels = (1000, 2000, 3000)
    pushes = [asyncio.ensure_future(source.push(np.full(9600, n, np.int16).tobytes())) for n in levels]

    async def end_after_all() -> None:
        await asyncio.gather(*pushes)
        source.end()

    ender = asyncio.ensure_future(end_after_all())
    heard = left(await frames_until_end(source))
    await ender
    levels_heard = [
        n for n in dict.fromkeys(int(np.median(heard[at : at + 960])) for at in range(0, len(heard), 960)) if n
    ]
    # The official SDK plays one channel at 0.7 of its loudness, as FFmpeg mixes.
    assert len(levels_heard) == 3 and levels_heard == sorted(levels_heard)


# The iterator


@BOTH
async def test_row_106_frames_until_the_track_ends_then_no_more(sdk: Any) -> None:
    source = AudioSource()
    await source.push(seconds(0.1))
    source.end()
    assert len([frame async for frame in sdk.iter_frames(source)]) in (5, 6)
    assert [frame async for frame in sdk.iter_frames(source)] == []


async def test_row_106_another_error_is_not_hidden() -> None:
    class Broken(MediaStreamTrack):
        kind = "audio"

        async def recv(self) -> Any:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        async for _ in iter_frames(Broken()):
            pass


# Sources


@pytest.mark.parametrize("name", ["from_file", "from_rtsp", "from_camera", "from_microphone", "screen_share"])
def test_row_107_the_helpers_take_the_same(name: str) -> None:
    theirs = dict(inspect.signature(getattr(official, name)).parameters)
    theirs.pop("_player")  # the official SDK's test seam
    ours = inspect.signature(getattr(edge_node, name)).parameters
    assert {n: (p.kind, p.default) for n, p in ours.items()} == {n: (p.kind, p.default) for n, p in theirs.items()}


def test_row_107_rtsp_by_four_transports() -> None:
    for transport in ("tcp", "udp", "udp_multicast", "http"):
        from_rtsp("rtsp://127.0.0.1/stream", transport=transport).stop()
    with pytest.raises(ValueError, match="transport"):
        from_rtsp("rtsp://127.0.0.1/stream", transport="sctp")
    for address in ("", "camera", "ftp://127.0.0.1/a", "rtsp://", "rtsp://a b/"):
        with pytest.raises(ValueError, match="percent-encoded"):
            from_rtsp(address)


@pytest.mark.parametrize(("video", "audio"), [(True, True), (True, False), (False, True)])
async def test_row_108_what_a_file_lacks_is_none(tmp_path: Path, video: bool, audio: bool) -> None:
    source = from_file(make_film(tmp_path / "film.mp4", 0.3, video=video, audio=audio))
    assert (source.video is not None, source.audio is not None) == (video, audio)
    there = [track for track in (source.video, source.audio) if track is not None]
    counts = [len(frames) for frames in await asyncio.gather(*map(frames_until_end, there))]
    assert counts == [count for count, has in ((9, video), (16, audio)) if has]
    await source.close()


async def test_row_108_devices_have_one_of_both_and_belong_to_the_caller(tmp_path: Path) -> None:
    camera, microphone, screen = edge_node.from_camera(), edge_node.from_microphone(), edge_node.screen_share()
    for source in (camera, screen):
        assert (source.video is not None, source.audio) == (True, None)
    assert (microphone.video, microphone.audio is not None) == (None, True)
    for source in (camera, microphone, screen):
        track = source.video or source.audio
        assert track is not None
        await source.close()
        with pytest.raises(MediaStreamError):
            await track.recv()
    async with running_hub() as hub:
        film = from_file(make_film(tmp_path / "film.wav", hz=600, video=False), loop=True)
        peer, other = peer_of(hub, "peer"), peer_of(hub, "other")
        watcher = Watcher(other)
        assert film.audio is not None
        peer.add_track(film.audio)
        await peer.join("room")
        await other.join("room")
        await hears(await watcher.track("audio"), 600)
        await peer.close()
        await other.close()
        assert film.audio.readyState == "live", "the source is its owner's"
        await film.close()


@pytest.mark.parametrize(
    ("platform", "kind", "device", "file", "form"),
    [
        ("linux", "camera", None, "/dev/video0", "v4l2"),
        ("linux", "camera", "/dev/video2", "/dev/video2", "v4l2"),
        ("linux", "microphone", None, "default", "alsa"),
        ("linux", "microphone", "hw:1,0", "hw:1,0", "alsa"),
        ("linux2", "screen", None, ":0.0", "x11grab"),
        ("linux", "screen", ":1", ":1", "x11grab"),
        ("darwin", "camera", None, "default:none", "avfoundation"),
        ("darwin", "camera", "1:none", "1:none", "avfoundation"),
        ("darwin", "microphone", None, ":default", "avfoundation"),
        ("darwin", "screen", None, "Capture screen 0:none", "avfoundation"),
        ("win32", "camera", None, "video=Integrated Camera", "dshow"),
        ("win32", "camera", "C920", "video=C920", "dshow"),
        ("win32", "microphone", None, "audio=Microphone", "dshow"),
        ("win32", "microphone", "USB", "audio=USB", "dshow"),
        ("win32", "screen", None, "desktop", "gdigrab"),
        ("win32", "screen", "title=x", "desktop", "gdigrab"),
    ],
)
def test_row_109_devices_by_platform(
    monkeypatch: pytest.MonkeyPatch, platform: str, kind: Any, device: str | None, file: str, form: str
) -> None:
    wanted = {} if kind == "microphone" else {"video_size": "640x480", "framerate": "30"}
    made = capture(kind, device, platform, width=640, height=480, fps=30)
    assert (made.file, made.format, made.options, made.live) == (file, form, wanted, True)
    from metered_realtime import media_io

    monkeypatch.setattr(sys, "platform", platform)
    theirs = media_io._capture_args(kind, device, width=640, height=480, fps=30)
    assert (made.file, made.format, made.options) == theirs


def test_row_109_elsewhere_there_is_no_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "sunos5")
    for sdk in (edge_node, official):
        for name in ("from_camera", "from_microphone", "screen_share"):
            with pytest.raises(RuntimeError, match="from_file"):
                getattr(sdk, name)()


def test_row_110_without_a_size_or_rate_the_device_decides() -> None:
    def options(width: int, height: int, fps: int) -> dict[str, str]:
        return dict(capture("screen", None, "linux", width=width, height=height, fps=fps).options)

    assert options(0, 0, 30) == {"framerate": "30"}
    assert options(800, 0, 30) == {"framerate": "30"}
    assert options(800, 600, 0) == {"video_size": "800x600"}
    assert options(0, 0, 0) == {}


# Tracks and streams


class Grey(MediaStreamTrack):
    """A program's own pictures."""

    kind = "video"

    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    async def recv(self) -> av.VideoFrame:
        await asyncio.sleep(1 / 15)
        frame = av.VideoFrame(160, 120, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([128]) * plane.buffer_size)
        frame.pts, frame.time_base = self._count * 6000, Fraction(1, 90_000)
        self._count += 1
        return frame


async def test_row_111_any_track_of_aiortc_is_sent() -> None:
    async with running_hub() as hub:
        peer, other = peer_of(hub, "peer"), peer_of(hub, "other")
        watcher = Watcher(other)
        peer.add_track(Grey())
        peer.add_track(Tone(700), MediaStream(id="tone"))
        with pytest.raises(TypeError, match="MediaStreamTrack"):
            peer.add_track("a track")
        await peer.join("room")
        await other.join("room")
        await hears(await watcher.track("audio"), 700)
        pictures = await watcher.track("video")
        async with asyncio.timeout(LIMIT_S):
            assert (await pictures.recv()).width == 160
        await peer.close()
        await other.close()


@BOTH
def test_row_112_a_stream_is_a_named_group_of_tracks(sdk: Any) -> None:
    sound, pictures = AudioSource(), Grey()
    stream = sdk.MediaStream([sound], id="front")
    stream.add_track(pictures)
    stream.add_track(sound)
    assert (stream.id, stream.get_tracks()) == ("front", [sound, pictures])
    assert (stream.get_audio_tracks(), stream.get_video_tracks()) == ([sound], [pictures])
    stream.get_tracks().clear()
    stream.remove_track(sound)
    stream.remove_track(sound)
    assert stream.get_tracks() == [pictures]
    names = {sdk.MediaStream().id for _ in range(10)}
    assert len(names) == 10 and all(int(name, 16) >= 0 for name in names)
    sound.stop()
    pictures.stop()
