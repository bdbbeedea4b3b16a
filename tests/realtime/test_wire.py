"""Ways that packets leave by, and what they do when they cannot."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from edge_node.realtime import aiortc_wire
from edge_node.realtime.aiortc_wire import (
    STREAM_BUFFER_BYTES,
    Datagrams,
    Foreign,
    Relayed,
    Wire,
    interface_of,
    route_of,
    sheet,
)

PACKETS = memoryview(b"aaaaa" + b"bbbbb" + b"ccc")
PEER = ("192.0.2.1", 5000)


@pytest.fixture(autouse=True)
def forget_sockets() -> Iterator[None]:
    aiortc_wire._without_segments.clear()
    yield
    aiortc_wire._without_segments.clear()


class Socket(socket.socket):
    """Fails as it is told to; keeps what was sent."""

    def __init__(self, *errors: int | None) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self._errors = list(errors)
        self.sent: list[tuple[bytes, bool]] = []

    def sendmsg(self, buffers: Any, ancillary: Any = (), flags: int = 0, address: Any = None) -> int:
        error = self._errors.pop(0) if self._errors else None
        if error is not None:
            raise OSError(error, errno.errorcode[error])
        data = b"".join(bytes(buffer) for buffer in buffers)
        self.sent.append((data, bool(ancillary)))
        return len(data)


def leave(sock: Socket, count: int = 3) -> int:
    with sock:
        return Datagrams(sock, PEER).leave(PACKETS[: 5 * count], min(13, 5 * count), 5, count)


ONE_BY_ONE = [(b"aaaaa", False), (b"bbbbb", False), (b"ccc", False)]


def test_all_in_one_call() -> None:
    sock = Socket()
    assert leave(sock) == 3 and sock.sent == [(b"aaaaabbbbbccc", True)]
    alone = Socket()
    assert leave(alone, 1) == 1 and alone.sent == [(b"aaaaa", False)]


@pytest.mark.parametrize("error", [errno.EIO, errno.EINVAL, errno.EMSGSIZE])
def test_an_interface_without_it_is_remembered(error: int) -> None:
    with Socket(error) as sock:
        route = Datagrams(sock, PEER)
        assert [route.leave(PACKETS, 13, 5, 3) for _ in range(2)] == [3, 3]
        assert sock.sent == ONE_BY_ONE * 2
    other = Socket()
    assert leave(other) == 3 and len(other.sent) == 1


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.ENOBUFS])
def test_a_full_socket_takes_what_it_can(error: int) -> None:
    assert leave(Socket(error)) == 0
    with Socket(errno.EIO, None, error) as sock:
        assert Datagrams(sock, PEER).leave(PACKETS, 13, 5, 3) == 1
        assert sock.sent == ONE_BY_ONE[:1]


@pytest.mark.parametrize("error", [errno.ENETUNREACH, errno.EPERM, errno.ECONNREFUSED, errno.EBADF])
def test_no_way_there_is_a_loss_like_any_other(error: int) -> None:
    assert leave(Socket(error)) == 3
    with Socket(errno.EIO, error, None, error) as sock:
        assert Datagrams(sock, PEER).leave(PACKETS, 13, 5, 3) == 3 and sock.sent == ONE_BY_ONE[1:2]


class Transport:
    """One of asyncio's, as far as it is used."""

    def __init__(self, sock: Any = None, buffered: int = 0) -> None:
        self._sock = sock
        self._buffered = buffered
        self.sent: list[tuple[bytes, Any]] = []

    def get_extra_info(self, name: str) -> Any:
        return SimpleNamespace(_sock=self._sock) if name == "socket" else None

    def get_write_buffer_size(self) -> int:
        return self._buffered

    def is_closing(self) -> bool:
        return False

    def sendto(self, data: bytes, address: Any) -> None:
        self.sent.append((data, address))


def relayed(inner_transport: Transport, channels: dict[Any, int]) -> tuple[Any, list[bytes]]:
    written: list[bytes] = []
    inner = SimpleNamespace(transport=inner_transport, peer_to_channel=channels, _send=written.append)
    transport: Any = Transport()
    transport._TurnTransport__inner_protocol = inner
    return transport, written


def pair_of(transport: Any) -> Any:
    return SimpleNamespace(protocol=SimpleNamespace(transport=transport), remote_addr=PEER, local_addr=("192.0.2.9", 1))


def test_the_way_follows_the_pair() -> None:
    with Socket() as datagrams, socket.socket() as stream:
        direct = route_of(pair_of(Transport(datagrams)))
        assert isinstance(direct, Datagrams) and direct.prefix == 0
        assert isinstance(route_of(pair_of(Transport())), Foreign)
        bound = route_of(pair_of(relayed(Transport(datagrams), {PEER: 0x4001})[0]))
        assert isinstance(bound, Datagrams) and (bound.prefix, bound.channel) == (4, 0x4001)
        assert isinstance(route_of(pair_of(relayed(Transport(datagrams), {})[0])), Relayed)
        assert isinstance(route_of(pair_of(relayed(Transport(stream), {PEER: 0x4001})[0])), Relayed)


def test_a_relay_over_tcp_gets_a_header_for_each_packet_until_it_is_behind() -> None:
    transport, written = relayed(Transport(), {PEER: 0x4001})
    assert Relayed(transport, PEER).leave(PACKETS, 13, 5, 3) == 3
    assert written == [b"\x40\x01\0\5aaaaa", b"\x40\x01\0\5bbbbb", b"\x40\x01\0\3ccc"]
    behind, written = relayed(Transport(buffered=STREAM_BUFFER_BYTES + 1), {PEER: 0x4001})
    assert Relayed(behind, PEER).leave(PACKETS, 13, 5, 3) == 0 and written == []


def test_without_a_channel_aioice_sends() -> None:
    transport, written = relayed(Transport(), {})
    assert Relayed(transport, PEER).leave(PACKETS, 13, 5, 3) == 3
    assert written == [] and transport.sent == [(data, PEER) for data, _ in ONE_BY_ONE]
    foreign = Transport()
    assert Foreign(foreign, PEER).leave(PACKETS, 13, 5, 3) == 3 and len(foreign.sent) == 3


async def test_a_loop_has_one_sheet_and_a_pacer_for_each_interface() -> None:
    assert sheet() is sheet() and Wire().sheet is sheet()
    assert sheet().pacer("a") is sheet().pacer("a") is not sheet().pacer("b")
    mine = sheet()

    async def other() -> bool:
        return sheet() is mine

    assert not await asyncio.to_thread(asyncio.run, other())


async def test_a_transport_that_is_not_connected_is_no_way() -> None:
    from aiortc.rtcdtlstransport import State

    wire = Wire()
    assert not wire.is_open(SimpleNamespace(_state=State.CONNECTING))
    nowhere = SimpleNamespace(_connection=SimpleNamespace(_nominated={}))
    assert not wire.is_open(SimpleNamespace(_state=State.CONNECTED, transport=nowhere))


def test_a_relayed_path_shares_the_pacer_of_the_interface_it_leaves_by() -> None:
    names = {"sockname": ("192.0.2.7", 40_000)}
    inner = SimpleNamespace(transport=SimpleNamespace(get_extra_info=names.get))
    turn = SimpleNamespace(_TurnTransport__inner_protocol=inner)
    relayed = SimpleNamespace(protocol=SimpleNamespace(transport=turn), local_addr=("203.0.113.9", 50_000))
    direct = SimpleNamespace(protocol=SimpleNamespace(transport=object()), local_addr=("192.0.2.7", 50_001))
    assert interface_of(relayed) == interface_of(direct) == "192.0.2.7"
    names.clear()  # a transport that is closed already
    assert interface_of(relayed) == "203.0.113.9"
