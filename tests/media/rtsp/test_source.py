"""The RTSP source against a real server on loopback: playing, healing, telling what is wrong."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import ssl
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edge_node.errors import SettingsError, SourceLost
from edge_node.media.rtsp import source as source_module
from edge_node.media.rtsp import udp
from edge_node.media.rtsp.client import RtspTransport
from edge_node.media.rtsp.source import RtspSource
from edge_node.ports import AccessUnit, VideoSource
from tests.media.rtsp.viewing import Viewer, running
from tests.support.h264_clip import Clip, clip_of, make_clip
from tests.support.process import ROOT, Child
from tests.support.rtsp_server import Asked, RtspServer, packetize
from tests.support.waiting import eventually

START = b"\0\0\0\1"


def expected(clip: Clip, index: int) -> bytes:
    return b"".join(START + nal for nal in clip.units[index % len(clip.units)])


def quick(url: str, transport: RtspTransport = "tcp") -> RtspSource:
    """A source that loses patience soon."""
    return RtspSource(url, transport=transport, stall_s=0.5, connect_timeout_s=2)


async def lost(source: RtspSource) -> str:
    """The sentence with which a run ends."""
    with pytest.raises(SourceLost) as caught:
        async with asyncio.timeout(30):
            await source.run(Viewer())
    return str(caught.value)


# Playing


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_plays_the_clip_as_it_is(clip: Clip, transport: RtspTransport) -> None:
    async with RtspServer(clip) as server:
        source, viewer = RtspSource(server.url, transport=transport), Viewer()
        async with running(source, viewer):
            units = await viewer.more(40)
        await eventually(lambda: server.seen.count("TEARDOWN") == 1)
        await eventually(lambda: server.playing == 0)
    assert [unit.data for unit in units] == [expected(clip, n) for n in range(40)]
    assert [unit.keyframe for unit in units] == [clip.is_keyframe(n % 30) for n in range(40)]
    assert {b.timestamp - a.timestamp for a, b in pairwise(units)} == {3000}
    assert all(a.captured_at <= b.captured_at <= time.monotonic() for a, b in pairwise(units))
    assert source.counters.lost_packets == source.counters.bad_packets == 0
    assert source.others == ("audio PCMA",)
    assert source.warning is None


async def test_is_a_video_source(clip: Clip) -> None:
    source: VideoSource = RtspSource("rtsp://camera/stream")
    assert source.label == "rtsp"
    assert source.demand is None


async def test_parameter_sets_of_the_description_alone_do(clip: Clip) -> None:
    async with RtspServer(clip, in_band=False) as server:
        viewer = Viewer()
        async with running(RtspSource(server.url), viewer):
            units = await viewer.more(1)
    sps, pps = clip.parameter_sets()
    assert units[0].data.startswith(START + sps + START + pps + START)


async def test_several_viewers(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        viewers = [Viewer() for _ in range(3)]
        sources = [RtspSource(server.url), RtspSource(server.url), RtspSource(server.url, transport="udp")]
        async with AsyncExitStack() as stack:
            for source, viewer in zip(sources, viewers, strict=True):
                await stack.enter_async_context(running(source, viewer))
            for viewer in viewers:
                await viewer.more(3)
            assert server.playing == 3


@pytest.mark.parametrize("scheme", ["basic", "digest", "digest-sha256", "legacy"])
async def test_logs_in(clip: Clip, scheme: str) -> None:
    async with RtspServer(clip, user="admin", password="hunter2", scheme=scheme) as server:
        viewer = Viewer()
        async with running(RtspSource(server.url), viewer):
            await viewer.more(3)
        assert server.seen.refused == 1  # the question only
        server.password = "other"
        assert "check the user name and the password" in await lost(quick(server.address.replace("//", "//admin:x@")))
        assert "write rtsp://user:password@" in await lost(quick(server.address))


async def test_decodes_nothing() -> None:
    """What runs loads no decoder: seen in a process of its own, for other tests import av into this one."""
    for path in (ROOT / "edge_node/media/rtsp").glob("*.py"):
        assert "import av" not in path.read_text(), path
    code = (
        "import asyncio, sys\n"
        "from edge_node.media.rtsp.source import RtspSource\n"
        "class Enough(Exception): pass\n"
        "class Sink:\n"
        "    def unit(self, unit): raise Enough\n"
        "try: asyncio.run(RtspSource(sys.argv[1]).run(Sink()))\n"
        "except Enough: print('played', 'av' in sys.modules, 'aiortc' in sys.modules)\n"
    )
    async with RtspServer(clip_of(make_clip(64, 64, 30, seconds=0.2, kbps=100), 30)) as server:
        command = [sys.executable, "-c", code, server.url]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
        )
    assert done.stdout == "played False False\n", done.stderr


# Healing


async def test_goes_on_after_the_connection_was_lost(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        source, viewer = RtspSource(server.url), Viewer()
        ticks = []
        for _ in range(3):
            async with running(source, viewer) as task:
                ticks += [unit.timestamp for unit in await viewer.more(4)]
                await server.kick()
                with pytest.raises(SourceLost, match=r"(closed|broke) the connection"):
                    await asyncio.wait_for(task, 30)
    assert ticks == sorted(set(ticks))
    assert source.counters.keyframes == 3


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_killed_server_is_noticed_and_found_again(tmp_path: Path, transport: RtspTransport) -> None:
    words = ["--make", "96x96@30", "--cache", str(tmp_path / "clip.h264"), "--kbps", "100"]
    async with Child.module("tests.support.rtsp_server", *words) as child:
        url = (await child.line("ready rtsp://")).split()[1]
        source, viewer = RtspSource(url, transport=transport), Viewer()
        async with running(source, viewer) as task:
            await viewer.more(3)
            child.kill()
            await child.end()
            with pytest.raises(SourceLost):
                await asyncio.wait_for(task, 30)
    assert "cannot be reached (Connection refused)" in await lost(source)
    port = url.split(":")[2].partition("/")[0]
    async with Child.module("tests.support.rtsp_server", *words, "--port", port) as child:
        await child.line("ready rtsp://")
        async with running(source, viewer):
            last = viewer.units[-1].timestamp
            assert (await viewer.more(3))[0].timestamp > last


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_frozen_pictures_are_noticed(clip: Clip, transport: RtspTransport) -> None:
    async with RtspServer(clip) as server:
        source, viewer = quick(server.url, transport), Viewer()
        async with running(source, viewer) as task:
            await viewer.more(3)
            server.faults.frozen = True
            with pytest.raises(SourceLost, match=r"sent no pictures for 0\.5 s"):
                await asyncio.wait_for(task, 30)
        hint = 'write rtsp_transport = "tcp"' if transport == "udp" else "switched on"
        assert hint in await lost(source)


async def test_lost_packets_cost_pictures_but_break_none(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        server.faults.drop_every = 37
        source, viewer = RtspSource(server.url), Viewer()
        async with running(source, viewer):
            units = await viewer.more(30)
            await eventually(lambda: source.counters.dropped_units)
    whole = {expected(clip, n) for n in range(len(clip.units))}
    assert {unit.data for unit in units} <= whole
    assert source.counters.lost_packets > 0


async def test_twenty_reconnects_leave_nothing_behind(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        source = RtspSource(server.url)

        async def once() -> tuple[int, int, int]:
            viewer = Viewer()
            async with running(source, viewer):
                await viewer.more(2)
            await eventually(lambda: not server.clients)
            server.seen.requests.clear()
            gc.collect()
            return len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd")), tracemalloc.get_traced_memory()[0]

        tracemalloc.start()
        try:
            for _ in range(3):
                before = await once()
            for _ in range(20):
                after = await once()
        finally:
            tracemalloc.stop()
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 64 * 1024  # less than one parser buffer


async def test_the_session_is_kept_alive(clip: Clip) -> None:
    """The server ends sessions that are silent for two seconds."""
    async with RtspServer(clip, session_timeout_s=2, user="u", password="p") as server:
        viewer = Viewer()
        async with running(RtspSource(server.url), viewer) as task:
            await eventually(lambda: server.seen.count("GET_PARAMETER") >= 3)
            for client in server.clients:
                client.nonce = "another"  # cameras change it; the answer is one more request
            refused = server.seen.refused
            await eventually(lambda: server.seen.refused > refused)
            have = server.seen.count("GET_PARAMETER")
            await eventually(lambda: server.seen.count("GET_PARAMETER") >= have + 2)
            assert server.seen.refused == refused + 1
            assert not task.done()
        assert server.seen.connections == 1


async def test_options_where_get_parameter_is_unknown(clip: Clip) -> None:
    async with RtspServer(clip, session_timeout_s=2) as server:
        server.faults.answers["GET_PARAMETER"] = say("501 Not Implemented")
        async with running(RtspSource(server.url), Viewer()):
            await eventually(lambda: server.seen.count("OPTIONS") >= 3)
            assert server.seen.count("GET_PARAMETER") == 1


async def test_a_forgotten_session_is_noticed(clip: Clip) -> None:
    async with RtspServer(clip, session_timeout_s=1) as server:
        server.faults.answers["GET_PARAMETER"] = say("454 Session Not Found")
        assert "forgot the session" in await lost(RtspSource(server.url))


async def test_questions_of_the_server_are_answered(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        viewer = Viewer()
        async with running(RtspSource(server.url), viewer):
            await viewer.more(1)
            server.send_all(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\nREDIRECT * RTSP/1.0\r\n\r\n")
            server.send_all(b"RTSP/1.0 200 OK\r\nCSeq: 99\r\n\r\n")  # an answer to nothing
            await eventually(lambda: server.seen.answers == 2)
            await viewer.more(3)


# Ending


async def test_a_stop_waits_for_no_silent_server(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        server.faults.answers["TEARDOWN"] = say(None)
        viewer = Viewer()
        async with running(RtspSource(server.url), viewer) as task:
            await viewer.more(1)
            task.cancel()
            await asyncio.wait([task], timeout=30)
        assert task.cancelled()
        await eventually(lambda: not server.clients)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
async def test_a_mistake_of_the_sink_is_not_hidden(clip: Clip, transport: RtspTransport) -> None:
    class Broken(Viewer):
        def unit(self, unit: AccessUnit) -> None:
            raise ZeroDivisionError("mine")

    async with RtspServer(clip) as server:
        with pytest.raises(ZeroDivisionError, match="mine"):
            await RtspSource(server.url, transport=transport).run(Broken())


# Telling what is wrong


Answer = Callable[[Asked], bytes | None]


def say(status: str | None, **headers: str) -> Answer:
    """A server's fixed answer; None for silence."""

    def answer(asked: Asked) -> bytes | None:
        lines = [f"RTSP/1.0 {status}", f"CSeq: {asked.headers['cseq']}", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, "", ""]).encode() if status else None

    return answer


def raw(data: bytes) -> Answer:
    return lambda asked: data


SETUP = "RTP/AVP/TCP;unicast;interleaved=0-1"


@pytest.mark.parametrize(
    ("method", "answer", "says"),
    [
        ("OPTIONS", say(None), "did not answer OPTIONS within 2 s"),
        ("OPTIONS", say("401 Unauthorized"), "wants a user name and a password"),
        (
            "OPTIONS",
            raw(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            "sent HTTP instead of RTSP at OPTIONS: check that the port",
        ),
        ("OPTIONS", raw(b"\x00" * 9), "neither a message nor a frame"),
        ("DESCRIBE", say("404 Not Found"), "answered 404 Not Found to DESCRIBE: check the path"),
        ("DESCRIBE", say("302 Found"), "points to another address"),
        ("DESCRIBE", say("500 \x1b[31m"), r"answered 500 ?[31m to DESCRIBE: see the camera's own log"),
        ("DESCRIBE", say("200 OK"), "its description names no stream"),
        ("SETUP", say("461 Unsupported Transport"), "does not offer this transport"),
        ("SETUP", say("200 OK", Transport=SETUP, Session="x"), "answered 454"),
        ("SETUP", say("200 OK"), "answered 454"),
        ("PLAY", say("453 Not Enough Bandwidth"), "too many viewers"),
        ("PLAY", raw(b""), "did not answer PLAY"),
    ],
)
async def test_a_refusal_becomes_a_sentence(clip: Clip, method: str, answer: Answer, says: str) -> None:
    async with RtspServer(clip) as server:
        server.faults.answers[method] = answer
        sentence = await lost(quick(server.url))
        assert says in sentence
        assert sentence.startswith(server.address)
        await eventually(lambda: not server.clients)


@pytest.mark.parametrize(
    ("sdp", "says"),
    [
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 VP8/90000\r\n", "neither H.264 nor H.265"),
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:a\rb\r\n", "line break"),
        ("m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=control:rtsp://elsewhere/x\r\n", "404"),
    ],
)
async def test_a_description_that_does_not_do(clip: Clip, sdp: str, says: str) -> None:
    async with RtspServer(clip, sdp=sdp) as server:
        assert says in await lost(quick(server.url))


async def test_garbage_inside_the_stream(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        viewer = Viewer()
        async with running(RtspSource(server.url), viewer) as task:
            await viewer.more(2)
            server.send_all(b"$\x07\x00\x02ab" + b"\xff" * 64)
            with pytest.raises(SourceLost, match="neither a message nor a frame"):
                await asyncio.wait_for(task, 30)
            with pytest.raises(SourceLost):
                await RtspSource(server.url.replace("/stream", "/other")).run(viewer)


async def test_a_challenge_nobody_can_answer(clip: Clip) -> None:
    async with RtspServer(clip, user="u", password="p") as server:
        server.faults.answers["OPTIONS"] = say("401 No", **{"WWW-Authenticate": "Negotiate"})
        assert "neither Basic nor Digest" in await lost(quick(server.url))


async def test_other_channels_than_asked_for(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        source, viewer = RtspSource(server.url), Viewer()
        async with running(source, viewer):
            await viewer.more(1)
            server.send_all(b"$\x04\x00\x03abc")
            await viewer.more(2)
        assert source.counters.bad_packets == 0


async def test_an_address_where_nobody_answers() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        port = silent.getsockname()[1]
        assert "did not answer OPTIONS" in await lost(quick(f"rtsp://127.0.0.1:{port}/x"))
        tls = RtspSource(f"rtsps://127.0.0.1:{port}/x", connect_timeout_s=0.3)
        assert "did not answer within 0.3 s" in await lost(tls)
    assert "cannot be reached (Connection refused)" in await lost(quick(f"rtsp://127.0.0.1:{port}/x"))
    assert "cannot be reached" in await lost(quick("rtsp://nobody.invalid/x"))


async def test_a_stream_without_keyframes(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "KEYFRAME_WAIT_S", 1.0)
    async with RtspServer(clip, sprop=False, in_band=False) as server:
        assert "sent no keyframe for 1 s" in await lost(quick(server.url))


async def test_a_camera_without_tcp_is_played_over_udp(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        server.faults.no_tcp = True
        source, viewer = RtspSource(server.url), Viewer()
        async with running(source, viewer):
            await viewer.more(5)
        assert [a.headers["transport"][:11] for a in server.seen.requests if a.method == "SETUP"] == [
            "RTP/AVP/TCP",
            "RTP/AVP;uni",
        ]


def test_datagrams_in_the_wrong_order_are_put_right() -> None:
    heard: list[int] = []
    ordered = udp.Ordered(lambda packet, _: heard.append(int.from_bytes(packet[2:4], "big")))

    def come(*numbers: int, now: float = 0.0) -> list[int]:
        heard.clear()
        for number in numbers:
            ordered(memoryview(b"\x80\x60" + (number % 2**16).to_bytes(2, "big")), now)
        return list(heard)

    assert come(65534, 0, 65535, 1) == [65534, 65535, 0, 1]
    assert come(3) == [] and come(4, now=udp.HOLD_S) == [3, 4], "the second was not waited for long"
    lost = [6 + n for n in range(udp.HELD_PACKETS)]
    assert come(*lost, now=1.0) == lost
    heard.clear()
    ordered(memoryview(b"no RTP"), 2.0)
    assert heard == [int.from_bytes(b" R", "big")]


async def test_udp_hears_only_the_server(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        source, viewer = RtspSource(server.url, transport="udp"), Viewer()
        async with running(source, viewer):
            await viewer.more(1)
            asked = next(a for a in server.seen.requests if a.method == "SETUP")
            port = int(asked.headers["transport"].partition("client_port=")[2].partition("-")[0])
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.bind(("127.0.0.2", 0))
                stranger.sendto(b"rubbish from elsewhere", ("127.0.0.1", port))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as neighbour:
                neighbour.sendto(b"rubbish from the same host", ("127.0.0.1", port))
            await eventually(lambda: source.counters.bad_packets)
            await viewer.more(2)
        assert source.counters.bad_packets == 1


async def test_udp_without_free_ports(clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(udp, "_TRIES", 0)
    async with RtspServer(clip) as server:
        assert "needs two UDP ports and got none" in await lost(quick(server.url, "udp"))


# TLS


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 with its key, as files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "camera")])
    now = datetime.now(UTC)
    here = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    certificate = builder.add_extension(here, critical=False).sign(key, hashes.SHA256())
    files = folder / "camera.pem", folder / "camera.key"
    files[0].write_bytes(certificate.public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return files


async def test_rtsps(clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = self_signed(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    async with RtspServer(clip, tls=tls) as server:
        assert "has a certificate this machine does not trust" in await lost(quick(server.url))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))  # as an installed CA
        viewer = Viewer()
        async with running(RtspSource(server.url), viewer):
            units = await viewer.more(20)
    assert [unit.data for unit in units] == [expected(clip, n) for n in range(20)]


# Warnings


async def test_warns_of_b_frames() -> None:
    clip = clip_of(make_clip(96, 96, 30, seconds=1, gop_s=0.5, kbps=100, b_frames=2), 30)
    async with RtspServer(clip) as server:
        source = RtspSource(server.url)
        async with running(source, Viewer()):
            await eventually(lambda: source.warning)
    assert source.warning is not None
    assert "B-frames" in source.warning


async def test_warns_of_distant_keyframes(
    clip: Clip, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source_module, "LONG_GAP_S", 0.3)
    async with RtspServer(clip) as server:
        source, viewer = RtspSource(server.url), Viewer()
        async with running(source, viewer):
            await eventually(lambda: source.warning)
            await viewer.more(40)
    assert source.warning is not None
    assert "keyframes are 0 s apart" in source.warning
    assert caplog.text.count("keyframes are") == 1


async def test_warns_of_markers_on_every_slice() -> None:
    clip = clip_of(make_clip(96, 96, 30, seconds=1, gop_s=0.2, kbps=100, slices=3), 30)
    async with RtspServer(clip) as server:
        server.payloads = [[(payload, True) for payload, _ in unit] for unit in server.payloads]
        source = RtspSource(server.url)
        async with running(source, Viewer()):
            await eventually(lambda: source.warning)
    assert source.warning is not None
    assert "marks the ends of pictures wrongly" in source.warning


# Settings and secrets


def test_refuses_wrong_settings() -> None:
    with pytest.raises(SettingsError, match="use rtsp:// or rtsps://"):
        RtspSource("file:///etc/passwd")
    with pytest.raises(SettingsError, match="use auto, tcp or udp"):
        RtspSource("rtsp://camera/s", transport="http")  # type: ignore[arg-type]


async def test_secrets_are_never_printed(clip: Clip, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with RtspServer(clip, user="admin", password="hunter2") as server:
        source, viewer = RtspSource(server.url), Viewer()
        async with running(source, viewer) as task:
            await viewer.more(1)
            await server.kick()
            with pytest.raises(SourceLost) as caught:
                await asyncio.wait_for(task, 30)
        server.password = "other"
        refused = await lost(source)
    everything = caplog.text + str(caught.value) + refused + str(source)
    assert "playing rtsp://127.0.0.1" in everything
    assert "hunter2" not in everything
    assert "admin" not in everything


# Redirects


def redirect(location: str) -> Answer:
    return say("302 Found", Location=location)


async def test_a_redirect_is_followed_with_the_credentials_of_the_same_host(clip: Clip) -> None:
    async with (
        RtspServer(clip) as gate,
        RtspServer(clip, user="admin", password="hunter2") as camera,
    ):
        gate.faults.answers["DESCRIBE"] = redirect(camera.address)
        viewer = Viewer()
        async with running(RtspSource(gate.address.replace("//", "//admin:hunter2@")), viewer):
            await viewer.more(3)
        assert (gate.playing, camera.seen.refused) == (0, 1)
        elsewhere = camera.address.replace("127.0.0.1", "localhost")
        gate.faults.answers["DESCRIBE"] = redirect(elsewhere)
        assert "wants a user name and a password" in await lost(quick(gate.address.replace("//", "//admin:hunter2@")))


async def test_endless_redirects_end(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        server.faults.answers["DESCRIBE"] = redirect(server.address)
        assert "redirects more than 3 times" in await lost(quick(server.url))
        assert server.seen.count("DESCRIBE") == 4
        await eventually(lambda: not server.clients)
        server.faults.answers["DESCRIBE"] = redirect("http://camera/")
        assert "no rtsp:// address" in await lost(quick(server.url))


# A camera that does less than it should


async def test_a_camera_that_refuses_its_sound_still_has_a_picture(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        source, viewer = RtspSource(server.url, sound=True), Viewer()
        server.faults.refused_setup = "trackID=1"
        async with running(source, viewer):
            await viewer.more(5)
            assert source.audio is None and "answered 500" in (source.mute or "")
        server.faults.refused_setup = None
        async with running(source, viewer):
            await viewer.more(5)
            assert source.audio is not None and source.mute is None


async def test_a_camera_that_has_to_be_started_first(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        server.faults.describe_takes_s = 0.6
        viewer = Viewer()
        async with running(RtspSource(server.url, connect_timeout_s=0.3), viewer):
            await viewer.more(1)
        server.faults.describe_takes_s = 30
        sentence = await lost(RtspSource(server.url, connect_timeout_s=0.3))
        assert "did not answer DESCRIBE within 0.9 s" in sentence


async def test_a_session_that_only_the_first_answer_names(clip: Clip) -> None:
    async with RtspServer(clip) as server:
        server.faults.session_once = True
        source, viewer = RtspSource(server.url, sound=True), Viewer()
        async with running(source, viewer):
            await viewer.more(5)
            assert source.audio is not None


# What changes or lies in the middle of a stream


async def test_another_resolution_in_the_middle(clip: Clip) -> None:
    other = clip_of(make_clip(96, 64, 30, seconds=1, gop_s=0.5, kbps=100), 30)
    async with RtspServer(clip) as server:
        viewer = Viewer()
        async with running(RtspSource(server.url), viewer):
            await viewer.more(5)
            server.payloads = [packetize(unit) for unit in other.units]
            sps = other.parameter_sets()[0]
            await eventually(lambda: any(u.keyframe and START + sps in u.data for u in viewer.units))
    first = next(n for n, unit in enumerate(viewer.units) if START + sps in unit.data)
    assert viewer.units[first].keyframe  # nothing of the new size before its keyframe
