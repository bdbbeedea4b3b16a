"""WebSocket bytes for clients that have to be cheap (RFC 6455)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
# The mask protects proxies from scripts in browsers (section 10.3): zeros are as legal, and cost nothing here.
MASK = bytes(4)


def upgrade(path: str, port: int, subprotocol: str = "") -> bytes:
    """The request that makes a WebSocket of an HTTP connection."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return "\r\n".join([*lines, "", ""]).encode()


def frame(opcode: int, payload: bytes) -> bytes:
    """One whole message from a client."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", 0x80 | opcode, 0x80 | size)
    elif size < 65536:
        head = struct.pack("!BBH", 0x80 | opcode, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", 0x80 | opcode, 0x80 | 127, size)
    return head + MASK + payload


def frames(buffer: bytearray) -> Iterator[tuple[int, bytes]]:
    """Takes whole frames from a server (opcode, payload) out of the front of the buffer."""
    at, end = 0, len(buffer)
    while end - at >= 2:
        size, start = buffer[at + 1] & 0x7F, at + 2
        if size == 126:
            if end < start + 2:
                break
            size, start = int.from_bytes(buffer[start : start + 2], "big"), start + 2
        elif size == 127:
            if end < start + 8:
                break
            size, start = int.from_bytes(buffer[start : start + 8], "big"), start + 8
        if end < start + size:
            break
        yield buffer[at] & 0x0F, bytes(buffer[start : start + size])
        at = start + size
    del buffer[:at]
