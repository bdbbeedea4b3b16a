"""Thousands of clients in one process, driven by JSON lines: `python -m tests.bench.hub.crowd`.

Commands on standard input, one answer each on standard output:
  {"do": "join", "server": "hub", "port": 1, "count": 100, "first": 0, "members": 50, "channel": "bench"}
  {"do": "await", "server": "hub", "what": "joined" | "others" | "received", "least": 100, "timeout_s": 10}
  {"do": "reset", "server": "hub"}, {"do": "delays", "server": "hub"}, {"do": "leave", "server": "hub"}
"""

from __future__ import annotations

import json
import os
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.bench.hub.dialects import DIALECTS, Dialect, stamp_of
from tests.bench.hub.wire import CLOSE, PING, PONG, frame, frames

CONNECTING_AT_ONCE = 64
RECEIVE_BYTES = 1 << 18


@dataclass(slots=True)
class Client:
    """One socket on its way from connecting to subscribed."""

    server: Server
    sock: socket.socket
    index: int
    channel: str
    open: bool = False
    buffer: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class Server:
    """The clients of one server with what they have received."""

    name: str
    dialect: Dialect
    port: int = 0
    waiting: deque[tuple[int, str]] = field(default_factory=deque)
    connecting: int = 0
    clients: dict[int, Client] = field(default_factory=dict)
    joined: int = 0
    others: int = 0
    lost: int = 0
    delays_ns: list[int] = field(default_factory=list)

    @property
    def received(self) -> int:
        return len(self.delays_ns)

    @property
    def counts(self) -> dict[str, int]:
        return {"joined": self.joined, "others": self.others, "received": self.received, "lost": self.lost}


class Crowd:
    """One epoll loop over all sockets and standard input."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._servers = {name: Server(name, dialect) for name, dialect in DIALECTS.items()}
        self._clients: dict[int, Client] = {}
        self._commands = b""
        self._awaiting: tuple[Server, str, int, float] | None = None

    def run(self) -> None:
        """Serves commands until standard input ends."""
        os.set_blocking(0, False)
        self._epoll.register(0, select.EPOLLIN)
        while True:
            for fd, _ in self._epoll.poll(0.05, 512):
                if fd:
                    self._serve(self._clients[fd])
                elif not self._read_commands():
                    return
            for server in self._servers.values():
                self._connect_more(server)
            self._check_awaited()

    def _read_commands(self) -> bool:
        data = os.read(0, 65536)
        *lines, self._commands = (self._commands + data).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))
        return bool(data)

    def _obey(self, command: dict[str, Any]) -> None:
        server = self._servers[command["server"]]
        match command["do"]:
            case "join":
                server.port = command["port"]
                for index in range(command["first"], command["first"] + command["count"]):
                    server.waiting.append((index, f"{command['channel']}/{index // command['members']}"))
                return self._answer(ok=True)
            case "await":
                self._awaiting = (server, command["what"], command["least"], time.monotonic() + command["timeout_s"])
                return None
            case "reset":
                server.delays_ns.clear()
                return self._answer(ok=True)
            case "delays":
                return self._answer(delays_ms=_percentiles(server.delays_ns))
            case "leave":
                for client in list(server.clients.values()):
                    self._drop(client)
                return self._answer(ok=True)

    def _answer(self, **values: Any) -> None:
        print(json.dumps(values), flush=True)

    def _check_awaited(self) -> None:
        if self._awaiting is None:
            return
        server, what, least, deadline = self._awaiting
        if server.counts[what] >= least or server.lost or time.monotonic() > deadline:
            self._awaiting = None
            self._answer(**server.counts)

    def _connect_more(self, server: Server) -> None:
        while server.waiting and server.connecting < CONNECTING_AT_ONCE:
            index, channel = server.waiting.popleft()
            sock = socket.create_connection(("127.0.0.1", server.port))
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client = Client(server, sock, index, channel)
            server.connecting += 1
            server.clients[sock.fileno()] = self._clients[sock.fileno()] = client
            self._epoll.register(sock.fileno(), select.EPOLLIN)
            sock.sendall(server.dialect.upgrade(server.port))

    def _serve(self, client: Client) -> None:
        try:
            data = client.sock.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            client.server.lost += 1
            return self._drop(client)
        client.buffer += data
        if not client.open and not self._upgraded(client):
            return
        for opcode, payload in frames(client.buffer):
            self._heard(client, opcode, payload)

    def _upgraded(self, client: Client) -> bool:
        end = client.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        assert client.buffer.startswith(b"HTTP/1.1 101"), bytes(client.buffer[:200])
        del client.buffer[: end + 4]
        client.open = True
        client.server.connecting -= 1
        client.sock.sendall(client.server.dialect.join(client.index, client.channel))
        return True

    def _heard(self, client: Client, opcode: int, payload: bytes) -> None:
        server = client.server
        if opcode in (PING, CLOSE):
            client.sock.sendall(frame(PONG if opcode == PING else CLOSE, payload))
        elif (made_ns := stamp_of(payload)) is not None:
            server.delays_ns.append(time.monotonic_ns() - made_ns)
        else:
            server.others += server.dialect.others(payload)
            # The first of them is the answer to the subscription; presence that follows is news about others.
            if client.channel and server.dialect.joined(payload):
                server.joined += 1
                client.channel = ""

    def _drop(self, client: Client) -> None:
        fd = client.sock.fileno()
        self._epoll.unregister(fd)
        client.sock.close()
        del self._clients[fd], client.server.clients[fd]


def _percentiles(delays_ns: list[int]) -> dict[str, float]:
    """Milliseconds."""
    ordered = sorted(delays_ns) or [0]
    pick = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: ordered[min(len(ordered) - 1, int(len(ordered) * q))] / 1e6 for name, q in pick.items()}


if __name__ == "__main__":
    Crowd().run()
    sys.exit(0)
