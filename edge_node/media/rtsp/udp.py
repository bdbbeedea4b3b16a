"""A pair of UDP ports that receives RTP beside RTCP (RFC 3550 section 11)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable
from typing import Any

from edge_node.encode_plan.rules import receive_buffer_bytes
from edge_node.media.rtsp.connection import PacketSink
from edge_node.rtp.reorder import Reorder

# Default kernel buffers overflow under a keyframe's burst on a Pi 4 (bvis/fermax-blue-hass#80).
RECEIVE_BUFFER_BYTES = receive_buffer_bytes(16_000)
HELD_PACKETS = 16
HOLD_S = 0.05
"""So many packets after a missing one, or so long a time, prove it lost."""
_TRIES = 32
_KNOCK = b"\x80\xc9\0\1\0\0\0\0"  # an empty RTCP receiver report (RFC 3550 section 6.4.2)


class Ordered:
    """Puts the datagrams of one stream in order: two swapped ones would cost all pictures to the next keyframe."""

    def __init__(self, on_packet: Callable[[memoryview, float], None]) -> None:
        self._on_packet = on_packet
        self._window: Reorder[memoryview] = Reorder(held=HELD_PACKETS, hold_s=HOLD_S)

    def __call__(self, packet: memoryview, now: float) -> None:
        """One datagram; what waits for one that does not come goes on with a later one."""
        if len(packet) < 4 or packet[0] >> 6 != 2:
            self._on_packet(packet, now)  # no RTP: whoever counts the bad ones sees it
            return
        for ready in (*self._window.tick(now), *self._window.push(packet[2] << 8 | packet[3], packet, now)):
            self._on_packet(ready, now)


class _Port(asyncio.DatagramProtocol):
    def __init__(self, channel: int, server: str, on_packet: PacketSink, monotonic: Callable[[], float]) -> None:
        self._channel = channel
        self._server = server
        self._on_packet = on_packet
        self._monotonic = monotonic
        self.closed = asyncio.Event()

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        if addr[0] == self._server:  # anybody can send here: only the server is heard
            self._on_packet(self._channel, memoryview(data), self._monotonic())

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set()


class UdpPair:
    """Open sockets on an even port and the next one; packets arrive as channels 0 (RTP) and 1 (RTCP)."""

    def __init__(self, port: int, ends: list[tuple[asyncio.DatagramTransport, _Port]], server: str) -> None:
        self.port = port
        self._ends = ends
        self._server = server

    def knock(self, rtp_port: int, rtcp_port: int) -> None:
        """Sends one packet to each port of the server, so that firewalls and NATs on the way let its packets in."""
        for (transport, _), port in zip(self._ends, (rtp_port, rtcp_port), strict=True):
            if 0 < port < 65536:
                transport.sendto(_KNOCK, (self._server, port))

    async def close(self) -> None:
        """Closes both sockets."""
        for transport, _ in self._ends:
            transport.abort()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                for _, port in self._ends:
                    await port.closed.wait()


def _bind(host: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _bind_pair(host: str) -> tuple[socket.socket, socket.socket]:
    for _ in range(_TRIES):
        first = _bind(host, 0)
        port = first.getsockname()[1]
        if port % 2 == 0:
            try:
                return first, _bind(host, port + 1)
            except OSError:  # taken: try another pair
                pass
        first.close()
    raise OSError("no two neighbouring UDP ports are free")


async def open_udp_pair(
    own: str, server: str, on_packet: PacketSink, monotonic: Callable[[], float] = time.monotonic
) -> UdpPair:
    """Opens a pair on our address `own` that hears only `server`; both numeric. Raises OSError."""
    loop = asyncio.get_running_loop()
    socks = _bind_pair(own)
    ends: list[tuple[asyncio.DatagramTransport, _Port]] = []
    for channel, sock in enumerate(socks):
        port = _Port(channel, server, on_packet, monotonic)
        transport, _ = await loop.create_datagram_endpoint(lambda port=port: port, sock=sock)  # type: ignore[misc]
        ends.append((transport, port))
    return UdpPair(socks[0].getsockname()[1], ends, server)
