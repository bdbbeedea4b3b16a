"""How a sender's packets leave: encrypted in place, many of them in one system call where the interface takes that."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import struct
import weakref
from typing import Any

from aiortc.rtcdtlstransport import State
from pylibsrtp._binding import ffi, lib

from edge_node.rtp.pacer import SharedPacer

log = logging.getLogger(__name__)

SHEET_BYTES = 1 << 16
SOL_UDP, UDP_SEGMENT = 17, 103  # linux/udp.h
# What sendmsg says where an interface, or the kernel, cannot cut datagrams.
NO_SEGMENTS = frozenset({errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT})
FULL = frozenset({errno.EAGAIN, errno.ENOBUFS})
CHANNEL_HEADER = struct.Struct("!HH")
STREAM_BUFFER_BYTES = 65_536
_segments: dict[int, list[tuple[int, int, bytes]]] = {}
_without_segments: weakref.WeakSet[socket.socket] = weakref.WeakSet()


class Sheet:
    """What all senders of one event loop share: memory to make packets ready in, a pacer for each interface."""

    def __init__(self) -> None:
        self.memory = bytearray(SHEET_BYTES)
        self.view = memoryview(self.memory)
        self.base = ffi.cast("char *", ffi.from_buffer(self.memory))
        self.length = ffi.new("int *")
        self._pacers: dict[str, SharedPacer] = {}

    def pacer(self, host: str) -> SharedPacer:
        """The pacer of the interface with this address."""
        found = self._pacers.get(host)
        if found is None:
            found = self._pacers[host] = SharedPacer()
        return found


_sheets: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Sheet] = weakref.WeakKeyDictionary()


def sheet() -> Sheet:
    """The running loop's."""
    loop = asyncio.get_running_loop()
    found = _sheets.get(loop)
    if found is None:
        found = _sheets[loop] = Sheet()
    return found


class Datagrams:
    """A UDP socket of our own, to the peer or, in front of each packet a channel header, to a TURN server (RFC 8656).

    `prefix` is the length of what stands in front of each packet.
    """

    def __init__(self, sock: socket.socket, address: Any, channel: int | None = None) -> None:
        self._sock = sock
        self._address = address
        self.channel = channel
        self.prefix = 0 if channel is None else CHANNEL_HEADER.size

    def leave(self, view: memoryview, length: int, stride: int, count: int) -> int:
        """Sends `count` packets that lie `stride` bytes apart; returns how many the socket took."""
        if count == 1:
            return self._each(view, length, stride, 1)
        if self._sock not in _without_segments:
            ancillary = _segments.get(stride)
            if ancillary is None:
                ancillary = _segments[stride] = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", stride))]
            try:
                self._sock.sendmsg((view[:length],), ancillary, 0, self._address)
                return count
            except OSError as err:
                if err.errno in FULL:
                    return 0
                if err.errno not in NO_SEGMENTS:
                    return count  # no way there at the moment: lost like any datagram
                _without_segments.add(self._sock)
                log.info("packets leave one by one: the interface does not cut datagrams (%s)", err)
        return self._each(view, length, stride, count)

    def _each(self, view: memoryview, length: int, stride: int, count: int) -> int:
        for index in range(count):
            packet = view[index * stride : min(length, (index + 1) * stride)]
            try:
                self._sock.sendmsg((packet,), (), 0, self._address)
            except OSError as err:
                if err.errno in FULL:
                    return index
        return count


class Relayed:
    """A relay reached over TCP, or over a channel that is not bound yet: one packet at a time, as aioice does it."""

    prefix = 0
    channel = None

    def __init__(self, transport: Any, address: Any) -> None:
        self._transport = transport
        self._address = address

    def leave(self, view: memoryview, length: int, stride: int, count: int) -> int:
        inner = self._transport._TurnTransport__inner_protocol
        size_of = getattr(inner.transport, "get_write_buffer_size", None)
        if size_of is not None and size_of() > STREAM_BUFFER_BYTES:
            return 0
        channel = inner.peer_to_channel.get(self._address)
        for start in range(0, count * stride, stride):
            packet = bytes(view[start : min(length, start + stride)])
            if channel is None:
                self._transport.sendto(packet, self._address)
            elif not inner.transport.is_closing():
                inner._send(CHANNEL_HEADER.pack(channel, len(packet)) + packet)
        return count


class Foreign:
    """Any other kind of transport, for instance that of another event loop."""

    prefix = 0
    channel = None

    def __init__(self, transport: Any, address: Any) -> None:
        self._transport = transport
        self._address = address

    def leave(self, view: memoryview, length: int, stride: int, count: int) -> int:
        for start in range(0, count * stride, stride):
            self._transport.sendto(bytes(view[start : min(length, start + stride)]), self._address)
        return count


Route = Datagrams | Relayed | Foreign


def route_of(pair: Any) -> Route:
    """The way that the ICE agent chose."""
    transport, address = pair.protocol.transport, pair.remote_addr
    inner = getattr(transport, "_TurnTransport__inner_protocol", None)
    if inner is None:
        sock = _socket_of(transport)
        return Foreign(transport, address) if sock is None else Datagrams(sock, address)
    channel = inner.peer_to_channel.get(address)
    sock = _socket_of(inner.transport)
    if channel is None or sock is None or sock.type != socket.SOCK_DGRAM:
        return Relayed(transport, address)
    return Datagrams(sock, None, channel)


def interface_of(pair: Any) -> str:
    """The address of the interface that packets leave by; a relayed pair's own address is the relay's."""
    inner = getattr(pair.protocol.transport, "_TurnTransport__inner_protocol", None)
    bound = None if inner is None else inner.transport.get_extra_info("sockname")
    return str((bound or pair.local_addr)[0])


def _socket_of(transport: Any) -> socket.socket | None:
    """asyncio shows its sockets without sendmsg."""
    found = getattr(transport.get_extra_info("socket"), "_sock", None)
    return found if isinstance(found, socket.socket) else None


class Wire:
    """The DTLS transport of one sender, asked anew for its path before each picture."""

    def __init__(self) -> None:
        self.sheet = sheet()
        self._dtls: Any = None
        self._pair: Any = None
        self._session: Any = None
        self._srtp: Any = None
        self.route: Route | None = None
        self.pacer = self.sheet.pacer("")
        """That of the interface on the path."""

    def is_open(self, dtls: Any) -> bool:
        """Whether packets can leave; looks up where."""
        if dtls._state is not State.CONNECTED:
            return False
        pair = dtls.transport._connection._nominated.get(1)
        if pair is None:
            return False
        if pair is not self._pair or dtls is not self._dtls or self._session is not dtls._tx_srtp:
            self._dtls, self._pair, self._session = dtls, pair, dtls._tx_srtp
            self._srtp = self._session._srtp[0]
            self.route = route_of(pair)
            self.pacer = self.sheet.pacer(interface_of(pair))
        elif isinstance(self.route, Relayed):
            self.route = route_of(pair)  # its channel may be bound by now
        return True

    def send(self, header: Any, number: int, payloads: Any, start: int, stop: int, last: int) -> int:
        """Sends payloads `start` to `stop` behind the header (packer, bits, type, timestamp, ssrc, extension, length),
        numbered from `number` for payload 0; the `last` of the picture carries the marker. Returns how many left.
        """
        sheet, route, srtp = self.sheet, self.route, self._srtp
        assert route is not None
        memory, base, length, protect = sheet.memory, sheet.base, sheet.length, lib.srtp_protect
        packer, bits, kind, timestamp, ssrc, extension, header_bytes = header
        pack, prefix = packer.pack_into, route.prefix
        end = stride = 0
        for index in range(start, stop):
            payload = payloads[index]
            at = end + prefix
            marked = kind | 0x80 if index == last else kind
            pack(memory, at, bits, marked, number + index & 0xFFFF, timestamp, ssrc, extension)
            body, size = at + header_bytes, len(payload)
            memory[body : body + size] = payload
            length[0] = header_bytes + size
            code = protect(srtp, base + at, length)
            if code:
                raise ConnectionError(f"libsrtp refused a packet (error {code})")
            if prefix:
                CHANNEL_HEADER.pack_into(memory, end, route.channel, length[0])
            end = at + length[0]
            stride = stride or end
        left = route.leave(sheet.view, end, stride, stop - start)
        self._count(end, left)
        return left

    def send_bytes(self, packet: bytes) -> None:
        """Sends what is encrypted already (RTCP)."""
        sheet, route = self.sheet, self.route
        assert route is not None
        if route.prefix:
            packet = CHANNEL_HEADER.pack(route.channel, len(packet)) + packet
        sheet.memory[: len(packet)] = packet
        self._count(len(packet), route.leave(sheet.view, len(packet), len(packet), 1))

    def report(self, packets: bytes) -> None:
        """Encrypts and sends RTCP."""
        self.send_bytes(self._session.protect_rtcp(packets))

    def _count(self, size: int, packets: int) -> None:
        if packets:
            self._dtls._RTCDtlsTransport__tx_bytes += size
            self._dtls._RTCDtlsTransport__tx_packets += packets
