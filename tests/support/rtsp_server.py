"""A small real RTSP server that plays an H.264 clip in a loop, with knobs for everything that goes wrong.

As a process: `python -m tests.support.rtsp_server --make 1280x720@30 --port 8554` prints `ready rtsp://…` and plays
until it is killed; SIGUSR1 freezes and thaws the pictures, SIGUSR2 closes all connections.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import itertools
import re
import secrets
import signal
import ssl
import struct
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from tests.support.foreign_clip import ForeignClip
from tests.support.h264_clip import Clip, clip_of, load_clip, make_clip

MTU = 1400
PAYLOAD_TYPE = 96
PATH = "/stream"
_NTP_OFFSET = 2_208_988_800  # seconds from 1900 to 1970

Payload = tuple[bytes, bool]
"""One RTP payload and its marker."""


def packetize(unit: tuple[bytes, ...], mtu: int = MTU) -> list[Payload]:
    """RTP payloads of one picture (RFC 6184): small units in front share a STAP-A, large ones become FU-As."""
    payloads: list[bytes] = []
    small = list(itertools.takewhile(lambda nal: nal[0] & 0x1F in (6, 7, 8, 9) and len(nal) < 400, unit))
    if len(small) > 1 and sum(len(nal) + 2 for nal in small) < mtu:
        payloads.append(b"\x78" + b"".join(struct.pack("!H", len(nal)) + nal for nal in small))
        unit = unit[len(small) :]
    for nal in unit:
        if len(nal) <= mtu:
            payloads.append(nal)
            continue
        pieces = [nal[at : at + mtu - 2] for at in range(1, len(nal), mtu - 2)]
        for index, piece in enumerate(pieces):
            mark = (index == 0) << 7 | (index == len(pieces) - 1) << 6 | nal[0] & 0x1F
            payloads.append(bytes((nal[0] & 0xE0 | 28, mark)) + piece)
    return [(payload, index == len(payloads) - 1) for index, payload in enumerate(payloads)]


def rtp(payload: bytes, sequence: int, timestamp: int, *, marker: bool, ssrc: int, payload_type: int = 96) -> bytes:
    """One RTP packet; counters wrap by themselves."""
    second = marker << 7 | payload_type
    return struct.pack("!BBHII", 0x80, second, sequence & 0xFFFF, timestamp & 0xFFFF_FFFF, ssrc) + payload


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the server read it; header names in lower case."""

    method: str
    url: str
    headers: dict[str, str]


@dataclass(slots=True)
class Faults:
    """Turn these while the server runs."""

    frozen: bool = False
    """Connections stay open, nothing is sent."""
    drop_next: int = 0
    """So many RTP packets are numbered but not sent."""
    drop_every: int = 0
    """Every n-th packet is not sent."""
    no_tcp: bool = False
    """RTP goes over UDP only."""
    refused_setup: str | None = None
    """The end of a URL whose SETUP ends in an error."""
    describe_takes_s: float = 0.0
    session_once: bool = False
    """Only the first SETUP's answer names the session."""
    answers: dict[str, Callable[[Asked], bytes | None]] = field(default_factory=dict)
    """Per method: the raw answer instead of ours; None says nothing at all."""


@dataclass(frozen=True, slots=True)
class Sound:
    """Coded sound that plays in a loop: RTP payloads of `step` ticks each, on the track `trackID=1`."""

    payloads: tuple[bytes, ...]
    step: int
    rate_hz: int
    payload_type: int


@dataclass(slots=True)
class Seen:
    """What clients did."""

    connections: int = 0
    requests: deque[Asked] = field(default_factory=lambda: deque(maxlen=1000))
    refused: int = 0
    answers: int = 0
    """Responses to requests of ours."""

    def count(self, *methods: str) -> int:
        return sum(asked.method in methods for asked in self.requests)


class RtspServer:
    """`async with RtspServer(clip) as server: … server.url …`."""

    def __init__(
        self,
        clip: Clip,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        user: str | None = None,
        password: str = "",
        scheme: str = "digest",
        session_timeout_s: int = 60,
        tls: ssl.SSLContext | None = None,
        sprop: bool = True,
        in_band: bool = True,
        sdp: str | None = None,
        foreign: ForeignClip | None = None,
        sound: Sound | None = None,
    ) -> None:
        """`scheme`: basic, digest (MD5), digest-sha256 or legacy (MD5 without qop). `sdp` replaces the description,
        `foreign` the pictures.
        """
        self.clip, self.host, self.port = clip, host, port
        self.user, self.password, self.scheme = user, password, scheme
        self.session_timeout_s = session_timeout_s
        self.tls = tls
        self.faults = Faults()
        self.seen = Seen()
        self.sound = sound
        self.order: tuple[int, ...] = ()
        """The place of each picture in the order of showing; empty: that of sending."""
        self.payload_type = PAYLOAD_TYPE if foreign is None or foreign.codec != "JPEG" else 26
        if sdp is None:
            sdp = self._describe(sprop) if foreign is None else foreign.sdp()
        self.sdp = sdp
        units = clip.units if in_band else tuple(tuple(n for n in u if n[0] & 0x1F not in (7, 8)) for u in clip.units)
        self.payloads = [packetize(unit) for unit in units]
        if foreign is not None:
            self.payloads, self.order = foreign.payloads(), foreign.order
        self.clients: set[_Client] = set()
        self._server: asyncio.Server | None = None

    def _describe(self, sprop: bool) -> str:
        sps, pps = self.clip.parameter_sets()
        sets = f";sprop-parameter-sets={base64.b64encode(sps).decode()},{base64.b64encode(pps).decode()}"
        lines = [
            "v=0", f"o=- 1 1 IN IP4 {self.host}", "s=clip", "c=IN IP4 0.0.0.0", "t=0 0", "a=control:*",
            f"m=video 0 RTP/AVP {PAYLOAD_TYPE}", f"a=rtpmap:{PAYLOAD_TYPE} H264/90000",
            f"a=fmtp:{PAYLOAD_TYPE} packetization-mode=1;profile-level-id={sps[1:4].hex()}{sets if sprop else ''}",
            "a=control:trackID=0", "m=audio 0 RTP/AVP 8", "a=control:trackID=1",
        ]  # fmt: skip
        return "\r\n".join([*lines, ""])

    @property
    def address(self) -> str:
        """Without credentials."""
        return f"{'rtsps' if self.tls else 'rtsp'}://{self.host}:{self.port}{PATH}"

    @property
    def url(self) -> str:
        """With credentials."""
        return self.address if self.user is None else self.address.replace("//", f"//{self.user}:{self.password}@", 1)

    @property
    def playing(self) -> int:
        """How many sessions play now."""
        return sum(client.player is not None for client in self.clients)

    async def __aenter__(self) -> RtspServer:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stops listening and drops every client, like a crash."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.kick()

    async def kick(self) -> None:
        """Closes all connections; new ones are welcome."""
        clients = list(self.clients)
        for client in clients:
            if not client.ending:
                client.task.cancel()
        if clients:
            await asyncio.wait([client.task for client in clients], timeout=5)

    def send_all(self, data: bytes) -> None:
        """Writes raw bytes to every client."""
        for client in self.clients:
            client.writer.write(data)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.seen.connections += 1
        client = _Client(self, reader, writer)
        self.clients.add(client)
        try:
            await client.run()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # the client went away, or kick() was called
        finally:
            await client.stop()
            self.clients.discard(client)


class _Client:
    """One connection; at most one session."""

    def __init__(self, server: RtspServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.task = cast("asyncio.Task[Any]", asyncio.current_task())
        self.player: asyncio.Task[None] | None = None
        self.ending = False
        self.session = secrets.token_hex(4)
        self.nonce = secrets.token_hex(16)
        self.sends: dict[bool, Callable[[int, bytes], None]] = {}
        """By whether it is the sound."""
        self.speaker: asyncio.Task[None] | None = None
        self.udp: list[asyncio.DatagramTransport] = []

    async def run(self) -> None:
        while True:
            asked = await self._read()
            if asked is None:
                continue
            self.server.seen.requests.append(asked)
            if asked.method in self.server.faults.answers:
                raw = self.server.faults.answers[asked.method](asked)
                if raw is not None:
                    self.writer.write(raw)
                continue
            if not self._allowed(asked):
                self.server.seen.refused += 1
                self._answer(asked, "401 Unauthorized", {"WWW-Authenticate": self._challenge()})
                continue
            if not await self._handle(asked):
                return

    async def stop(self) -> None:
        self.ending = True
        if self.player is not None:
            self.player.cancel()
            await asyncio.wait([self.player], timeout=5)
            self.player = None
        if self.speaker is not None:
            self.speaker.cancel()
            await asyncio.wait([self.speaker], timeout=5)
        for transport in self.udp:
            transport.abort()
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()
        await asyncio.sleep(0)  # the UDP ports close with the loop's next turn

    async def _read(self) -> Asked | None:
        """One request, or None for an answer; silence longer than the session time-out raises TimeoutError."""
        async with asyncio.timeout(self.server.session_timeout_s):
            while True:
                first = await self.reader.readexactly(1)
                if first == b"$":  # a receiver report: it does not keep the session alive here
                    size = struct.unpack("!BH", await self.reader.readexactly(3))[1]
                    await self.reader.readexactly(size)
                elif first not in b"\r\n":
                    break
            head = (first + await self.reader.readuntil(b"\r\n\r\n")).decode()
            line, *rest = head.strip().split("\r\n")
            headers = {k.strip().lower(): v.strip() for k, _, v in (one.partition(":") for one in rest)}
            await self.reader.readexactly(int(headers.get("content-length", "0")))
        method, url, _ = line.split(" ", 2)
        if method.startswith("RTSP/"):
            self.server.seen.answers += 1
            return None
        return Asked(method, url, headers)

    def _answer(self, asked: Asked, status: str, headers: dict[str, str] | None = None, body: str = "") -> None:
        more = dict(headers or {})
        if body:
            more["Content-Length"] = str(len(body.encode()))
        lines = [f"RTSP/1.0 {status}", f"CSeq: {asked.headers.get('cseq', '0')}"]
        lines += [f"{name}: {value}" for name, value in more.items()]
        self.writer.write(("\r\n".join([*lines, "", ""]) + body).encode())

    async def _handle(self, asked: Asked) -> bool:
        server = self.server
        if asked.method == "OPTIONS":
            self._answer(asked, "200 OK", {"Public": "OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN"})
        elif not asked.url.startswith(server.address):
            self._answer(asked, "404 Not Found")
        elif asked.method == "DESCRIBE":
            await asyncio.sleep(server.faults.describe_takes_s)
            described = {"Content-Type": "application/sdp", "Content-Base": server.address + "/"}
            self._answer(asked, "200 OK", described, server.sdp)
        elif asked.method == "SETUP":
            await self._setup(asked)
        elif asked.headers.get("session") != self.session:
            self._answer(asked, "454 Session Not Found")
        elif asked.method == "PLAY" and False in self.sends:
            self._answer(asked, "200 OK", {"Session": self.session, "Range": "npt=0.000-"})
            self.player = self.player or asyncio.create_task(self._play(self.sends[False]))
            if server.sound is not None and True in self.sends:
                self.speaker = asyncio.create_task(self._speak(self.sends[True], server.sound))
        elif asked.method == "GET_PARAMETER":
            self._answer(asked, "200 OK", {"Session": self.session})
        elif asked.method == "TEARDOWN":
            self._answer(asked, "200 OK")
            await self.writer.drain()
            return False
        else:
            self._answer(asked, "455 Method Not Valid In This State")
        return True

    async def _setup(self, asked: Asked) -> None:
        wanted = asked.headers.get("transport", "")
        if (refused := self.server.faults.refused_setup) is not None and asked.url.endswith(refused):
            self._answer(asked, "500 Internal Server Error")
            return
        is_sound, first_one = asked.url.endswith("trackID=1"), not self.sends
        tcp = re.search(r"RTP/AVP/TCP.*interleaved=(\d+)-(\d+)", wanted)
        if tcp and not self.server.faults.no_tcp:
            first = int(tcp[1])
            self.sends[is_sound] = lambda kind, packet: self.writer.write(
                struct.pack("!BBH", 36, first + kind, len(packet)) + packet
            )
            given = f"RTP/AVP/TCP;unicast;interleaved={first}-{tcp[2]}"
        elif udp := re.search(r"client_port=(\d+)-(\d+)", wanted):
            ends = await self._open_udp((int(udp[1]), int(udp[2])))
            self.sends[is_sound] = lambda kind, packet: ends[kind].sendto(packet)
            own = [transport.get_extra_info("sockname")[1] for transport in ends]
            given = f"RTP/AVP;unicast;client_port={udp[1]}-{udp[2]};server_port={own[0]}-{own[1]}"
        else:
            self._answer(asked, "461 Unsupported Transport")
            return
        timeout = f";timeout={self.server.session_timeout_s}"
        named = {"Session": self.session + timeout} if first_one or not self.server.faults.session_once else {}
        self._answer(asked, "200 OK", {"Transport": given, **named})

    async def _open_udp(self, ports: tuple[int, int]) -> list[asyncio.DatagramTransport]:
        host = self.writer.get_extra_info("peername")[0]
        ends: list[asyncio.DatagramTransport] = []
        for port in ports:
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                asyncio.DatagramProtocol, local_addr=(self.server.host, 0), remote_addr=(host, port)
            )
            ends.append(transport)
        self.udp += ends
        return ends

    async def _play(self, send: Callable[[int, bytes], None]) -> None:
        """Plays in real time from the clip's first picture, with numbers that wrap soon."""
        loop, server, clip = asyncio.get_running_loop(), self.server, self.server.clip
        began, ssrc = loop.time(), secrets.randbits(32)
        sequence, start = 0xFFFF - secrets.randbelow(64), 0xFFFF_FFFF - secrets.randbelow(90_000)
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number / clip.fps - loop.time()))
            if server.faults.frozen:
                continue
            shown = number
            if count := len(server.order):
                shown = number // count * count + server.order[number % count]
            tick = start + round(shown * 90_000 / clip.fps)
            if number % round(5 * clip.fps) == 0:
                send(1, _sender_report(ssrc, tick, loop.time()))
            for payload, marker in server.payloads[number % len(server.payloads)]:
                if not self._drops(sequence):
                    send(0, rtp(payload, sequence, tick, marker=marker, ssrc=ssrc, payload_type=server.payload_type))
                sequence += 1
            async with asyncio.timeout(10):  # a client that does not read is dropped
                await self.writer.drain()

    async def _speak(self, send: Callable[[int, bytes], None], sound: Sound) -> None:
        loop = asyncio.get_running_loop()
        began, ssrc = loop.time(), secrets.randbits(32)
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number * sound.step / sound.rate_hz - loop.time()))
            payload = sound.payloads[number % len(sound.payloads)]
            if not self.server.faults.frozen:
                tick = number * sound.step
                send(0, rtp(payload, number, tick, marker=False, ssrc=ssrc, payload_type=sound.payload_type))

    def _drops(self, sequence: int) -> bool:
        faults = self.server.faults
        if faults.drop_next > 0:
            faults.drop_next -= 1
            return True
        return faults.drop_every > 0 and sequence % faults.drop_every == 0

    # authentication, written apart from the client's on purpose

    def _challenge(self) -> str:
        match self.server.scheme:
            case "basic":
                return 'Basic realm="clip"'
            case "legacy":
                return f'Digest realm="clip", nonce="{self.nonce}"'
            case "digest-sha256":
                return f'Digest realm="clip", qop="auth", nonce="{self.nonce}", algorithm=SHA-256'
            case _:
                return f'Digest realm="clip", qop="auth", nonce="{self.nonce}", algorithm=MD5'

    def _allowed(self, asked: Asked) -> bool:
        server = self.server
        if server.user is None:
            return True
        given = asked.headers.get("authorization", "")
        if server.scheme == "basic":
            return given == "Basic " + base64.b64encode(f"{server.user}:{server.password}".encode()).decode()
        fields = {k: q or b for k, q, b in re.findall(r'(\w+)=(?:"([^"]*)"|([^",\s]+))', given)}
        if not fields or fields.get("nonce") != self.nonce or fields.get("uri") != asked.url:
            return False

        def digest(text: str) -> str:
            kind = "sha256" if server.scheme == "digest-sha256" else "md5"
            return hashlib.new(kind, text.encode()).hexdigest()

        one = digest(f"{server.user}:clip:{server.password}")
        two = digest(f"{asked.method}:{asked.url}")
        if server.scheme == "legacy":
            return fields.get("response") == digest(f"{one}:{self.nonce}:{two}")
        middle = f"{self.nonce}:{fields.get('nc')}:{fields.get('cnonce')}:auth"
        return fields.get("response") == digest(f"{one}:{middle}:{two}")


def _sender_report(ssrc: int, tick: int, now: float) -> bytes:
    seconds, part = divmod(now, 1)
    ntp = (int(seconds) + _NTP_OFFSET) & 0xFFFF_FFFF
    return struct.pack("!BBHIIIIII", 0x80, 200, 6, ssrc, ntp, int(part * 2**32), tick & 0xFFFF_FFFF, 0, 0)


def _clip(arguments: argparse.Namespace) -> Clip:
    if arguments.clip:
        return load_clip(arguments.clip, arguments.fps)
    size = re.fullmatch(r"(\d+)x(\d+)@(\d+)", arguments.make)
    if size is None:
        raise SystemExit("--make takes WIDTHxHEIGHT@FPS, such as 1280x720@30")
    width, height, fps = (int(part) for part in size.groups())
    cache: Path | None = arguments.cache
    if cache is not None and cache.exists():
        return clip_of(cache.read_bytes(), fps)
    data = make_clip(width, height, fps, kbps=arguments.kbps)
    if cache is not None:
        fresh = cache.with_suffix(".part")
        fresh.write_bytes(data)
        fresh.replace(cache)
    return clip_of(data, fps)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--clip", type=Path, help="an H.264 file: .h264, .264, .mp4, …")
    what.add_argument("--make", metavar="WxH@FPS", help="make a clip with libx264 first")
    parser.add_argument("--cache", type=Path, help="where --make keeps its clip (.h264) for the next start")
    parser.add_argument("--fps", type=float, default=30.0, help="for a raw --clip file")
    parser.add_argument("--kbps", type=int, default=2000)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--user")
    parser.add_argument("--password", default="")
    parser.add_argument("--auth", choices=["basic", "digest", "digest-sha256", "legacy"], default="digest")
    parser.add_argument("--session-timeout", type=int, default=60, metavar="S")
    return parser.parse_args()


async def _main(arguments: argparse.Namespace) -> None:
    server = RtspServer(
        _clip(arguments),
        host=arguments.host,
        port=arguments.port,
        user=arguments.user,
        password=arguments.password,
        scheme=arguments.auth,
        session_timeout_s=arguments.session_timeout,
    )
    loop, stop, kicks = asyncio.get_running_loop(), asyncio.Event(), set[asyncio.Task[None]]()

    def freeze() -> None:
        server.faults.frozen = not server.faults.frozen

    loop.add_signal_handler(signal.SIGUSR1, freeze)
    loop.add_signal_handler(signal.SIGUSR2, lambda: kicks.add(loop.create_task(server.kick())))
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stop.set)
    async with server:
        print(f"ready {server.url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(asyncio.run(_main(_arguments())))
