"""The two protocols of the bench: ours, MQTT 3.1.1 inside WebSocket."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Protocol

from tests.bench.hub.wire import BINARY, TEXT, frame, upgrade

KEY = "pk_bench_key"
STAMP = b'"t":'


def stamped(now_ns: int, size: int) -> str:
    """A JSON object of `size` bytes that carries when it was made."""
    text = json.dumps({"t": now_ns, "pad": ""}, separators=(",", ":"))
    return text[:-2] + "x" * (size - len(text)) + '"}'


def stamp_of(payload: bytes) -> int | None:
    """When the data in this payload was made, in nanoseconds of the monotonic clock; None when it has no stamp."""
    at = payload.find(STAMP)
    return None if at < 0 else int(payload[at + len(STAMP) : payload.index(b",", at)])


class Dialect(Protocol):
    """What a client says; all of it is bytes for the socket."""

    def upgrade(self, port: int) -> bytes: ...

    def join(self, index: int, channel: str) -> bytes:
        """All it says once the WebSocket is open, in one go."""
        ...

    def publish(self, channel: str, data: str) -> bytes: ...

    def joined(self, payload: bytes) -> bool:
        """True when this payload says that the client is subscribed now."""
        ...

    def others(self, payload: bytes) -> int:
        """How many peers this payload says have joined."""
        ...


@dataclass(frozen=True, slots=True)
class HubDialect:
    """JSON frames as in our protocol."""

    def upgrade(self, port: int) -> bytes:
        return upgrade(f"/v1?key={KEY}", port)

    def join(self, index: int, channel: str) -> bytes:
        return frame(TEXT, json.dumps({"type": "subscribe", "channel": channel}).encode())

    def publish(self, channel: str, data: str) -> bytes:
        return frame(TEXT, b'{"type":"publish","channel":"%b","data":%b}' % (channel.encode(), data.encode()))

    def joined(self, payload: bytes) -> bool:
        return b'"type":"presence"' in payload

    def others(self, payload: bytes) -> int:
        return payload.count(b'"peerId"') if b'"type":"presence"' in payload else 0


@dataclass(frozen=True, slots=True)
class MqttDialect:
    """MQTT 3.1.1, quality of service 0, clean session."""

    def upgrade(self, port: int) -> bytes:
        return upgrade("/mqtt", port, "mqtt")

    def join(self, index: int, channel: str) -> bytes:
        # Section 3.1.2: name, level 4, clean session, no keep-alive. Section 3.1.4: a client need not wait for CONNACK.
        connect = _text("MQTT") + bytes((4, 2, 0, 0)) + _text(f"bench-{index}")
        subscribe = struct.pack("!H", 1) + _text(channel) + bytes((0,))
        return frame(BINARY, _packet(0x10, connect)) + frame(BINARY, _packet(0x82, subscribe))

    def publish(self, channel: str, data: str) -> bytes:
        return frame(BINARY, _packet(0x30, _text(channel) + data.encode()))

    def joined(self, payload: bytes) -> bool:
        return payload[0] == 0x90  # SUBACK

    def others(self, payload: bytes) -> int:
        return 0


def _text(text: str) -> bytes:
    return struct.pack("!H", len(text)) + text.encode()


def _packet(kind: int, body: bytes) -> bytes:
    size, digits = len(body), bytearray()
    while True:  # section 2.2.3: seven bits per byte, the lowest first
        size, low = size >> 7, size & 0x7F
        digits.append(low | (0x80 if size else 0))
        if not size:
            return bytes((kind, *digits)) + body


DIALECTS: dict[str, Dialect] = {"hub": HubDialect(), "mosquitto": MqttDialect()}
