"""A camera's sound as the node's microphone."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from edge_node.aio.clock import SystemClock
from edge_node.aio.tasks import cancel_and_wait
from edge_node.dsp.pcm import Pcm
from edge_node.errors import DeviceLost, DeviceMissing
from edge_node.media import rtsp_microphone
from edge_node.media.audio_publication import AudioPublication
from edge_node.media.opus_packet import OpusPacket, parse_opus
from edge_node.media.rtsp.sdp import AudioTrack
from edge_node.media.rtsp.sound import SoundPackets
from edge_node.media.rtsp.source import RtspSource
from edge_node.media.rtsp_microphone import MAX_FRAMES, TARGET_FRAMES, Playout, RtspMicrophone, SoundDecoder
from edge_node.ports import BLOCK_FRAMES, SAMPLE_RATE
from tests.media.rtsp.viewing import Viewer
from tests.support.h264_clip import Clip, clip_of, make_clip
from tests.support.peers import strongest
from tests.support.rtsp_server import RtspServer, Sound, rtp
from tests.support.video_sink import Watching
from tests.support.waiting import eventually

HZ = 600


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_of(make_clip(96, 96, 30, seconds=1, gop_s=0.5, kbps=100), 30)


def coded(
    codec_name: str, rate_hz: int, sample_format: str, frames: int, layout: str = "mono", **options: str
) -> tuple[list[bytes], bytes]:
    """Two seconds of a tone, with the codec's extradata."""
    codec: Any = av.CodecContext.create(codec_name, "w")
    codec.sample_rate, codec.layout, codec.format = rate_hz, layout, sample_format
    codec.bit_rate, codec.time_base, codec.options = 48_000, Fraction(1, rate_hz), options
    codec.open()
    wave = 0.4 * np.sin(2 * np.pi * HZ * np.arange(2 * rate_hz) / rate_hz)
    wave = np.stack([wave] * (2 if layout == "stereo" else 1))
    samples: Any = wave.astype(np.float32) if sample_format == "fltp" else (wave * 32767).astype(np.int16)
    packets = []
    for start in range(0, samples.shape[1] - frames + 1, frames):
        part = np.ascontiguousarray(samples[:, start : start + frames])
        frame = av.AudioFrame.from_ndarray(part, format=sample_format, layout=layout)
        frame.sample_rate, frame.pts = rate_hz, start
        packets += [bytes(packet) for packet in codec.encode(frame)]
    return packets, bytes(codec.extradata or b"")


def g711(codec: str) -> tuple[Sound, str]:
    packets, _ = coded({"PCMA": "pcm_alaw", "PCMU": "pcm_mulaw"}[codec], 8000, "s16", 320)
    payload_type = {"PCMU": 0, "PCMA": 8}[codec]
    return Sound(tuple(packets), 320, 8000, payload_type), f"m=audio 0 RTP/AVP {payload_type}\r\n"


def aac() -> tuple[Sound, str]:
    packets, config = coded("aac", 16_000, "fltp", 1024)
    payloads = tuple(struct.pack("!HH", 16, len(packet) << 3) + packet for packet in packets)
    lines = "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 MPEG4-GENERIC/16000\r\n"
    lines += f"a=fmtp:97 mode=AAC-hbr;config={config.hex()};sizelength=13;indexlength=3;indexdeltalength=3\r\n"
    return Sound(payloads, 1024, 16_000, 97), lines


def opus() -> tuple[Sound, str]:
    packets, _ = coded("libopus", SAMPLE_RATE, "s16", 960)
    return Sound(tuple(packets), 960, SAMPLE_RATE, 98), "m=audio 0 RTP/AVP 98\r\na=rtpmap:98 opus/48000/2\r\n"


def server(clip: Clip, sound: Sound, lines: str, **more: Any) -> RtspServer:
    video = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:trackID=0\r\n"
    return RtspServer(clip, sound=sound, sdp=f"v=0\r\n{video}{lines}a=control:trackID=1\r\n", **more)


@asynccontextmanager
async def listening(camera: RtspServer, **how: Any) -> AsyncIterator[tuple[RtspMicrophone, list[Pcm]]]:
    """The blocks that a camera's microphone gives while its picture plays."""
    source, blocks = RtspSource(camera.url, sound=True, **how), list[Pcm]()
    microphone = RtspMicrophone(source, SystemClock())
    tasks = [asyncio.create_task(source.run(Viewer())), asyncio.create_task(microphone.run(blocks.append))]
    try:
        yield microphone, blocks
    finally:
        for task in tasks:
            await cancel_and_wait(task, grace_s=5)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("make", [lambda: g711("PCMA"), lambda: g711("PCMU"), aac, opus], ids=["A", "µ", "AAC", "Opus"])
async def test_the_tone_arrives_in_even_blocks(clip: Clip, make: Any, transport: str) -> None:
    async with server(clip, *make()) as camera, listening(camera, transport=transport) as (microphone, blocks):
        await eventually(lambda: len(blocks) >= 80)
        assert {len(block) for block in blocks} == {BLOCK_FRAMES}
        heard = strongest(np.concatenate(blocks[10:70]).astype(np.float64))
        assert abs(heard - HZ) < 5
        assert (microphone.label, microphone.dropped) == ("rtsp", 0)


async def test_opus_goes_to_the_viewers_untouched(clip: Clip) -> None:
    sound, lines = opus()
    async with server(clip, sound, lines) as camera, listening(camera) as (microphone, blocks):
        audio = AudioPublication(SystemClock())
        running = asyncio.create_task(audio.run())
        microphone.on_opus = audio.opus
        watching = Watching(audio.track.subscribe())
        try:
            await eventually(lambda: audio.heard and sum(bytes(p) in sound.payloads for p in watching.packets) >= 20)
            assert audio.level_dbfs is None and len(blocks) <= 20  # before on_opus was set
            audio.set_muted(True)
            await eventually(lambda: bytes(watching.packets[-1]) not in sound.payloads)
            audio.set_muted(False)
            await eventually(lambda: bytes(watching.packets[-1]) in sound.payloads)
        finally:
            await cancel_and_wait(running)
            audio.close()
            await watching.end()


async def test_without_a_listener_the_sound_is_not_asked_for(clip: Clip) -> None:
    async with server(clip, *aac()) as camera:
        source, viewer = RtspSource(camera.url), Viewer()
        task = asyncio.create_task(source.run(viewer))
        await viewer.more(3)
        assert camera.seen.count("SETUP") == 1 and source.audio is None
        await cancel_and_wait(task, grace_s=5)


async def test_a_camera_without_sound_says_what_to_do(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_microphone, "SILENT_S", 0.3)
    lines = "m=audio 0 RTP/AVP 97\r\na=rtpmap:97 G726-32/8000\r\n"
    async with server(clip, Sound((b"x",), 160, 8000, 97), lines) as camera:
        source = RtspSource(camera.url, sound=True)
        task = asyncio.create_task(source.run(Viewer()))
        await eventually(lambda: source.playing)
        with pytest.raises(DeviceMissing, match="beside its picture: audio G726-32"):
            await RtspMicrophone(source, SystemClock()).run(lambda pcm: None)
        await cancel_and_wait(task, grace_s=5)
    with pytest.raises(DeviceLost, match="sent no sound for"):
        await RtspMicrophone(source, SystemClock()).run(lambda pcm: None)


# Pieces


def test_playout_waits_for_enough_and_never_grows() -> None:
    playout, block = Playout(), np.zeros(BLOCK_FRAMES, np.int16)
    playout.put(block)
    assert playout.take(960) == []
    for _ in range(TARGET_FRAMES // BLOCK_FRAMES):
        playout.put(block)
    assert len(playout.take(960)) == 2
    for _ in range(2 * MAX_FRAMES // BLOCK_FRAMES):
        playout.put(block)
    assert playout.dropped > 0
    taken = 0
    while pieces := playout.take(960):
        taken += len(pieces)
    assert taken <= MAX_FRAMES // BLOCK_FRAMES
    playout.put(block)
    assert playout.take(960) == []  # a drought: it fills up again


def test_playout_keeps_long_packets_to_their_time() -> None:
    playout = Playout()
    for _ in range(3):
        playout.put(OpusPacket(b"\0", 2880))
    assert [len(playout.take(960)) for _ in range(9)] == [0, 0, 1, 0, 0, 1, 0, 0, 1]


def test_broken_sound_is_counted() -> None:
    packets, config = coded("aac", 16_000, "fltp", 1024)
    decoder = SoundDecoder(AudioTrack(97, "", "MPEG4-GENERIC", 16_000, 1, config))
    assert decoder.decode([b"\xff\xff\xff", b"\x00"]) == [] and decoder.failures
    assert decoder.decode(packets[:10])


def test_sound_that_changes_its_channels_is_heard_on() -> None:
    one, config = coded("aac", 16_000, "fltp", 1024)
    two, _ = coded("aac", 16_000, "fltp", 1024, layout="stereo")
    decoder = SoundDecoder(AudioTrack(97, "", "MPEG4-GENERIC", 16_000, 1, config))
    for packets in (one[:10], two[:10], one[:10]):
        assert len(decoder.decode(packets)) > 50
    assert decoder.failures == 0


async def test_sound_that_cannot_be_decoded_or_is_refused_is_said(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rtsp_microphone, "SILENT_S", 0.5)
    sound, lines = aac()
    broken = Sound((struct.pack("!HH", 16, 2 << 3) + b"\xff\xff",), sound.step, sound.rate_hz, 97)
    async with server(clip, broken, lines) as camera, listening(camera) as (microphone, blocks):
        with pytest.raises(DeviceLost, match="cannot be decoded"):
            await microphone.run(blocks.append)
    async with server(clip, sound, lines) as camera:
        camera.faults.refused_setup = "trackID=1"
        async with listening(camera) as (microphone, blocks):
            with pytest.raises(DeviceLost, match=r"was refused: .* answered 500"):
                await microphone.run(blocks.append)
    assert blocks == []


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (b"\x98", 960),
        (b"\x99", 1920),
        (b"\x18", 2880),
        (b"\xe0", 120),
        (b"\x9b\x03", 2880),
        (b"", None),
        (b"\x9b", None),
        (b"\x9b\x00", None),
        (b"\x1b\x03", None),
    ],
)
def test_opus_packets_tell_their_length(data: bytes, frames: int | None) -> None:
    packet = parse_opus(data)
    assert (None if packet is None else packet.frames) == frames


AAC_TRACK = AudioTrack(97, "", "MPEG4-GENERIC", 16_000, 1, b"\x14\x08")


def sound_packet(payload: bytes, sequence: int = 0, payload_type: int = 97) -> bytes:
    return rtp(payload, sequence, 0, marker=True, ssrc=1, payload_type=payload_type)


@pytest.mark.parametrize(
    ("payload", "frames"),
    [
        (b"\0\x10\0\x10ab", [b"ab"]),
        (b"\0\x20\0\x08\0\x10abb", [b"a", b"bb"]),
        (b"\0\x11\0\x10ab", []),
        (b"\0\x00", []),
        (b"\0\x20\0\x08", []),
        (b"\0\x10\0\x18ab", []),
        (b"\0\x10\0\x00ab", []),
    ],
)
def test_aac_frames_of_a_packet(payload: bytes, frames: list[bytes]) -> None:
    packets = SoundPackets(AAC_TRACK)
    assert packets.feed(sound_packet(payload)) == frames
    assert packets.bad_packets == (not frames)


def test_sound_packets_late_lost_and_foreign() -> None:
    packets = SoundPackets(AudioTrack(8, "", "PCMA", 8000, 1))
    given = [(7, 8), (9, 8), (8, 8), (9, 8), (10, 9), (40_000, 8), (40_001, 8)]
    taken = [packets.feed(sound_packet(b"a", sequence, kind)) for sequence, kind in given]
    assert [len(frames) for frames in taken] == [1, 1, 0, 0, 0, 1, 1]
    assert (packets.lost_packets, packets.bad_packets) == (1, 1)
    assert packets.feed(sound_packet(b"", 40_002, 8)) == []
