"""A bad network for two peers of one machine: it loses, delays, queues, and needs no root.

`running_link(hub)` stands in front of a hub. Peers and pages that join through `link.url` get each other's ICE
candidates with the addresses of UDP sockets in here, so that every packet between them passes a `Path`.
IPv4 host candidates only; the others are made useless. A page may hide its address: its checks show it.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from edge_node.protocol import sdp

Address = tuple[str, int]
# A name that nobody resolves: our SDK drops it, a browser looks it up in vain.
NOWHERE = "00000000-0000-4000-8000-000000000000.local"
PACKETS_PER_WAKE = 64
KNOWN_PACKETS = 4096
# One step of a clock reading: packets due at the same time would leave in any order.
TICK_S = 1e-6
SO_TIMESTAMPNS, TIMESPEC = 35, struct.Struct("@qq")  # linux/asm-generic/socket.h


class HasUrl(Protocol):
    """A hub, or what stands in front of one."""

    @property
    def url(self) -> str: ...


@dataclass
class Counters:
    """What one direction saw: `lost` at random, `overflowed` at the queue, `filtered` by the test's own rule.

    `media_packets` and `media_bytes` are RTP that came for the first time, `resent_*` RTX and repeated packets.
    """

    packets: int = 0
    bytes: int = 0
    delivered: int = 0
    lost: int = 0
    overflowed: int = 0
    filtered: int = 0
    late: int = 0
    media_packets: int = 0
    media_bytes: int = 0
    resent_packets: int = 0
    resent_bytes: int = 0

    @property
    def dropped(self) -> int:
        return self.lost + self.overflowed + self.filtered


@dataclass
class Path:
    """One direction between two peers; its settings may change at any time.

    Loss and lateness hit RTP and RTCP alone, so that ICE and DTLS come up as on a good day; delay, rate and queue hit
    all. Percentages are of packets. A packet with jitter waits up to `jitter_ms` more and keeps its place; a late one
    waits `late_ms` more and others overtake it. `drop(packet)` sees each RTP or RTCP packet, headers in clear.
    """

    seed: int = 0
    loss_percent: float = 0.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    late_percent: float = 0.0
    late_ms: float = 0.0
    rate_kbps: float | None = None
    queue_bytes: int = 100_000
    repairs: bool = True
    """False: whatever is sent again, as RTX or as it was, is lost."""
    open: bool = True
    """False: nothing passes, ICE included."""
    drop: Callable[[bytes], bool] | None = None
    counters: Counters = field(default_factory=Counters)
    rtx_types: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._backlog_bytes = 0.0
        self._drained_at = 0.0
        self._last_at = 0.0
        self.on_the_way = 0
        """Packets that wait for their time; none overtakes them by being late itself."""
        self._known: set[bytes] = set()
        self._known_order: deque[bytes] = deque()

    def set(self, **settings: Any) -> None:
        """Changes settings by name."""
        for name, value in settings.items():
            assert name in self.__dataclass_fields__, name
            setattr(self, name, value)

    def admit(self, packet: bytes, now: float) -> float | None:
        """When this packet arrives at the other end, or None: never."""
        count = self.counters
        count.packets += 1
        count.bytes += len(packet)
        media = is_media(packet)
        resent = media and self._count_media(packet)
        if not self.open or (resent and not self.repairs) or (media and self.drop is not None and self.drop(packet)):
            count.filtered += 1
            return None
        if media and self._random.random() * 100 < self.loss_percent:
            count.lost += 1
            return None
        queued_s = self._queue(len(packet), now)
        if queued_s is None:
            count.overflowed += 1
            return None
        at = now + queued_s + (self.delay_ms + self._random.random() * self.jitter_ms) / 1000
        if media and self._random.random() * 100 < self.late_percent:
            count.late += 1
            return at + self.late_ms / 1000
        self._last_at = at = max(at, self._last_at + TICK_S) if self._last_at >= now else at
        return at

    def _queue(self, size: int, now: float) -> float | None:
        """Seconds until the last byte left the drop-tail queue; None when it is full."""
        if self.rate_kbps is None:
            self._backlog_bytes = 0.0
            return 0.0
        bytes_per_s = self.rate_kbps * 125
        self._backlog_bytes = max(0.0, self._backlog_bytes - (now - self._drained_at) * bytes_per_s)
        self._drained_at = now
        # The packet that is being sent waits in no queue: an empty one takes packets of any size.
        if self._backlog_bytes and self._backlog_bytes + size > self.queue_bytes:
            return None
        self._backlog_bytes += size
        return self._backlog_bytes / bytes_per_s

    def _count_media(self, packet: bytes) -> bool:
        """True for RTP that is sent again."""
        if not is_rtp(packet):
            return False
        name = packet[2:4] + packet[8:12]  # RFC 3550 section 5.1: sequence number and SSRC
        resent = packet[1] & 0x7F in self.rtx_types or name in self._known
        if resent:
            self.counters.resent_packets += 1
            self.counters.resent_bytes += len(packet)
            return True
        self.counters.media_packets += 1
        self.counters.media_bytes += len(packet)
        self._known.add(name)
        self._known_order.append(name)
        if len(self._known_order) > KNOWN_PACKETS:
            self._known.discard(self._known_order.popleft())
        return False


def is_media(packet: bytes) -> bool:
    """RTP or RTCP, by the first byte (RFC 7983)."""
    return len(packet) >= 12 and 128 <= packet[0] <= 191


def is_rtp(packet: bytes) -> bool:
    """RTP, not RTCP, by the second byte (RFC 5761 section 4)."""
    return is_media(packet) and not 192 <= packet[1] <= 223


def check_username(packet: bytes) -> str | None:
    """The USERNAME of an ICE check, "receiver's fragment:sender's fragment" (RFC 8445 section 7.2.2)."""
    if len(packet) < 20 or packet[:2] != b"\0\1":
        return None
    at = 20
    while at + 4 <= len(packet):
        kind, size = int.from_bytes(packet[at : at + 2]), int.from_bytes(packet[at + 2 : at + 4])
        if kind == 6:
            return packet[at + 4 : at + 4 + size].decode(errors="replace")
        at += 4 + (size + 3 & ~3)
    return None


class Endpoint:
    """A UDP socket that the others take for `owner`'s address `real`."""

    def __init__(self, owner: str, real: Address) -> None:
        self.owner = owner
        self.real = real
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_000_000)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        # The same interface as the owner's: browsers do not talk from others to the loopback.
        self.socket.bind((real[0], 0))
        host, port = self.socket.getsockname()
        self.address: Address = (host, port)


class Link:
    """All paths between the peers that joined through `url`; for one event loop."""

    def __init__(self, hub: HasUrl, seed: int, settings: dict[str, Any]) -> None:
        self.url = ""
        self.unknown = 0
        """Packets from an address nobody told: dropped."""
        self._hub = hub
        self._seed = seed
        self._settings = settings
        self._paths: dict[tuple[str, str], Path] = {}
        self._endpoints: dict[Address, Endpoint] = {}
        self._fragments: dict[str, str] = {}
        self._loop = asyncio.get_running_loop()

    # For tests

    def path(self, sender: str, receiver: str) -> Path:
        """The direction from one peer id to another; it may be set before they are there."""
        key = (sender, receiver)
        if key not in self._paths:
            self._paths[key] = Path(seed=hash_of(self._seed, *key), **self._settings)
        return self._paths[key]

    def set(self, **settings: Any) -> None:
        """Changes all paths there are, and those to come."""
        self._settings = self._settings | settings
        for path in self._paths.values():
            path.set(**settings)

    def close(self) -> None:
        """Closes the sockets; nothing is delivered any more."""
        for endpoint in self._endpoints.values():
            self._loop.remove_reader(endpoint.socket)
            endpoint.socket.close()
        self._endpoints.clear()

    # Packets

    def _endpoint(self, owner: str, real: Address) -> Endpoint:
        endpoint = self._endpoints.get(real)
        if endpoint is None:
            endpoint = self._endpoints[real] = Endpoint(owner, real)
            self._loop.add_reader(endpoint.socket, self._read, endpoint)
        return endpoint

    def _read(self, to: Endpoint) -> None:
        for _ in range(PACKETS_PER_WAKE):
            try:
                packet, told, _, source = to.socket.recvmsg(65_536, 64)
            except (BlockingIOError, ConnectionRefusedError):
                return
            self._pass(packet, source, to, self._came_at(told))

    def _came_at(self, told: Sequence[tuple[int, int, bytes]]) -> float:
        """When the packet came, on the loop's clock: this process may have been too busy to see."""
        now = self._loop.time()
        for level, kind, data in told:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = TIMESPEC.unpack(data)
                late_s: float = time.time() - seconds - nanoseconds * 1e-9
                return now - max(0.0, late_s)
        return now

    def _pass(self, packet: bytes, source: Address, to: Endpoint, came_at: float) -> None:
        sender = self._endpoints.get(source)
        if sender is None:
            owner = self._fragments.get((check_username(packet) or "").rpartition(":")[2])
            if owner is None:
                self.unknown += 1
                return
            sender = self._endpoint(owner, source)
        path = self.path(sender.owner, to.owner)
        at = path.admit(packet, came_at)
        if at is None:
            return
        if at <= self._loop.time() and not path.on_the_way:
            self._deliver(packet, sender, to, path)
        else:
            path.on_the_way += 1
            self._loop.call_at(at, self._arrive, packet, sender, to, path)

    def _arrive(self, packet: bytes, sender: Endpoint, to: Endpoint, path: Path) -> None:
        path.on_the_way -= 1
        self._deliver(packet, sender, to, path)

    def _deliver(self, packet: bytes, sender: Endpoint, to: Endpoint, path: Path) -> None:
        try:
            sender.socket.sendto(packet, to.real)
        except OSError:  # closed, or nobody listens there any more: a network would not tell either
            return
        path.counters.delivered += 1

    # Signals

    def rewrite(self, sender: str, text: str) -> str:
        """A frame that a peer sends to the hub, with other addresses in its signals."""
        frame = json.loads(text)
        data = frame.get("data")
        receiver = frame.get("to")
        if frame.get("type") != "send" or not isinstance(data, dict) or not isinstance(receiver, str):
            return text
        if data.get("type") == "rtc-description":
            data["description"]["sdp"] = self._description(sender, receiver, data["description"]["sdp"])
        elif data.get("type") == "rtc-ice" and (data.get("candidate") or {}).get("candidate"):
            data["candidate"]["candidate"] = self._candidate(sender, data["candidate"]["candidate"])
        return json.dumps(frame)

    def _description(self, sender: str, receiver: str, text: str) -> str:
        return "\r\n".join(self._lines(sender, receiver, text)) + "\r\n"

    def _lines(self, sender: str, receiver: str, text: str) -> Iterator[str]:
        for line in text.splitlines():
            if line.startswith("a=candidate:"):
                yield "a=" + self._candidate(sender, line[2:])
                continue
            if line.startswith("a=ice-ufrag:"):
                self._fragments[line.partition(":")[2]] = sender
            if line.startswith("a=rtpmap:") and " rtx/" in line:
                for path in (self.path(sender, receiver), self.path(receiver, sender)):
                    path.rtx_types.add(int(line[9:].split(" ")[0]))
            yield line

    def _candidate(self, owner: str, candidate: str) -> str:
        words = candidate.split(" ")  # RFC 8839 section 5.1: … transport priority address port …
        host, usable = words[4], words[2].lower() == "udp" and words[7] == "host"
        if not usable or sdp.is_mdns(candidate) or ":" in host:
            words[4] = NOWHERE
        else:
            endpoint = self._endpoint(owner, (host, int(words[5])))
            endpoint.owner = owner  # a port may have been another peer's before
            words[4:6] = map(str, endpoint.address)
        return " ".join(words)

    # The door in front of the hub

    async def page(self, connection: ServerConnection, request: Request) -> Response | None:
        """Hands other requests than WebSockets to the hub, so that its pages can be opened through here."""
        if "Upgrade" in request.headers:
            return None
        return await asyncio.to_thread(self._fetch, request.path)

    def _fetch(self, path: str) -> Response:
        try:
            with urllib.request.urlopen(self._hub.url.replace("ws", "http", 1) + path, timeout=10) as answer:
                kept = [(k, v) for k, v in answer.headers.items() if k.lower() not in ("connection", "content-length")]
                body = answer.read()
                headers = Headers([*kept, ("Content-Length", str(len(body))), ("Connection", "close")])
                return Response(answer.status, answer.reason, headers, body)
        except urllib.error.HTTPError as err:
            with err:
                return Response(err.code, err.reason, Headers([("Connection", "close")]), b"")

    async def serve(self, connection: ServerConnection) -> None:
        """One peer's WebSocket, both ways, until either end closes it."""
        assert connection.request is not None
        options: dict[str, Any] = {"max_size": None, "ping_interval": None, "proxy": None}
        async with connect(self._hub.url + connection.request.path, **options) as hub:
            up = self._loop.create_task(self._up(connection, hub))
            try:
                async for text in hub:
                    frame = json.loads(text)
                    if frame.get("type") == "welcome":
                        connection.username = frame["peerId"]
                    await connection.send(text)
            except websockets.ConnectionClosed:
                pass
            up.cancel()
            await asyncio.wait([up])
            await connection.close(*_farewell(hub.close_code, hub.close_reason))

    async def _up(self, connection: ServerConnection, hub: Any) -> None:
        try:
            async for text in connection:
                await hub.send(self.rewrite(getattr(connection, "username", ""), str(text)))
        except websockets.ConnectionClosed:
            pass
        await hub.close(*_farewell(connection.close_code, connection.close_reason))


def _farewell(code: int | None, reason: str | None) -> tuple[int, str]:
    """A close code that may be sent (RFC 6455 section 7.4)."""
    sendable = code is not None and (code in (1000, 1001, 1008, 1011) or code >= 3000)
    return (code or 1000, reason or "") if sendable else (1000, "")


def hash_of(seed: int, *words: str) -> int:
    """The same number in every process."""
    return random.Random(f"{seed} {words}").getrandbits(32)


@asynccontextmanager
async def running_link(hub: HasUrl, seed: int = 1, **settings: Any) -> AsyncIterator[Link]:
    """A link in front of a hub; `settings` are those of each Path at first."""
    link = Link(hub, seed, settings)
    options: dict[str, Any] = {"max_size": None, "ping_interval": None, "compression": None}
    async with serve(link.serve, "127.0.0.1", 0, process_request=link.page, **options) as server:
        link.url = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        try:
            yield link
        finally:
            link.close()
