"""Generated frames: valid ones, nearly valid ones, garbage; the same seed gives the same frames."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

CHANNELS = (
    "home",
    "work",
    "a/b",
    "*",
    "a/*",
    "**",
    r"a\*",
    "_internal/x",
    "",
    "x" * 257,
    "ü" * 200,
    "a\x00b",
    "\ud800",
)
PEERS = ("anna", "ben", "door", "", "x" * 129, "ü", "\x7f", "nobody")
IDS = ("r", "r-1", "r-2", "r-3") * 4 + ("", "x" * 129, 7, None)
SDP = (
    "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1\r\n"
    "m=audio 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:" + "p" * 22 + "\r\n"
    "a=msid:s t\r\na=rtpmap:96 opus/48000/2\r\na=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\na=sendrecv\r\n"
    "m=video 0 UDP/TLS/RTP/SAVPF 97 98\r\na=mid:1\r\na=rtpmap:97 H264/90000\r\na=fmtp:97 packetization-mode=1\r\n"
    "a=rtpmap:98 rtx/90000\r\na=fmtp:98 apt=97\r\na=candidate:1 1 udp 1 x.local 9 typ host\r\na=recvonly\r\n"
)
NUMBERS = ("0", "-1", "1e999", "-1e999", "1" * 400, "1" * 5000, "1.0", "0.1", "-0", "1e-999", "9007199254740993")
TOKENS = (
    *NUMBERS,
    "NaN",
    "Infinity",
    "-Infinity",
    "true",
    "null",
    '"\\ud800"',
    '"\\udc00\\ud800"',
    '"\\u0000"',
    "[]",
    "{}",
)
BYTES = (
    "\x00",
    "\ud800",
    "\udfff",
    "\ufeff",
    "\u2028",
    "\U0010ffff",
    "\\",
    '"',
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    " ",
    "é",
)


class Frames:
    """`text()` draws one text message in either direction, `data()` one JSON value."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self._makers: tuple[Callable[[], str], ...] = (
            *(self._valid,) * 12,
            *(self._bent,) * 6,
            *(self._cut,) * 2,
            self._scrambled,
            self._noise,
            self._deep,
            self._any_json,
        )

    def text(self) -> str:
        return self.random.choice(self._makers)()

    def raw(self) -> bytes:
        """A binary message, which nobody may send."""
        return self.random.randbytes(self.random.randrange(60))

    # Values

    def data(self, depth: int = 0) -> Any:
        draw = self.random
        match draw.randrange(12 if depth < 3 else 7):
            case 0:
                return None
            case 1:
                return draw.choice((True, False))
            case 2:
                return draw.choice((0, -1, 1 << 70, 1.5, 1e300))
            case 3 | 4:
                return draw.choice(BYTES) * draw.randrange(4)
            case 5:
                return self._signal()
            case 6:
                return "x" * draw.choice((1, 10, 300))
            case 7 | 8:
                return [self.data(depth + 1) for _ in range(draw.randrange(3))]
            case _:
                keys = ("type", "data", "t", "\ud800", "candidate")
                return {draw.choice(keys): self.data(depth + 1) for _ in range(draw.randrange(3))}

    def _signal(self) -> Any:
        draw = self.random
        match draw.randrange(5):
            case 0:
                description = {"type": draw.choice(("offer", "answer", "pranswer", 7)), "sdp": self.sdp()}
                return {"type": "rtc-description", "description": draw.choice((description, None, []))}
            case 1:
                line = draw.choice(("candidate:1 1 udp 1 192.0.2.1 9 typ host", "", "x" * 1001, None, 5))
                inner = {
                    "candidate": line,
                    "sdpMid": draw.choice(("0", 0, None)),
                    "sdpMLineIndex": draw.choice((0, True)),
                }
                return {"type": "rtc-ice", "candidate": draw.choice((inner, None, "x"))}
            case 2:
                return {
                    "__meteredTrackMeta": {"trackId": draw.choice(("t", "", 5)), "metadata": draw.choice(({}, 5, None))}
                }
            case 3:
                urls = draw.choice(("stun:x", ["turn:y", 5], "http://x", None, []))
                return {"iceServers": [{"urls": urls, "username": draw.choice(("u", 5, None))}] * draw.randrange(20)}
            case _:
                return {}

    def sdp(self) -> str:
        """A session description with lines lost, repeated, out of place or bitten."""
        draw = self.random
        lines = SDP.split("\r\n")
        for _ in range(draw.randrange(4)):
            at = draw.randrange(len(lines))
            match draw.randrange(4):
                case 0:
                    del lines[at]
                case 1:
                    lines.insert(draw.randrange(len(lines)), lines[at])
                case 2 if draw.random() < 0.1:
                    lines[at] = lines[at].replace(draw.choice("019"), "9" * 5000, 1)
                case 2:
                    lines[at] = lines[at][: draw.randrange(len(lines[at]) + 1)]
                case _:
                    lines[at] += draw.choice((*BYTES, " 999999999999999999999", ":", "=", " -"))
            lines = lines or [""]
        return draw.choice(("\r\n", "\n")).join(lines)

    def _peer_rows(self) -> list[Any]:
        draw = self.random
        row = {"peerId": draw.choice(PEERS), "metadata": draw.choice(({}, None, {"a": self.data(2)}))}
        return [draw.choice((row, {"peerId": "anna"}, {}, None))] * draw.randrange(3)

    # Frames

    def body(self) -> dict[str, Any]:
        """A frame whose shape is right; its values may be wrong."""
        draw = self.random
        kind = draw.choice(tuple(_FIELDS))
        body: dict[str, Any] = {"type": kind}
        for name in _FIELDS[kind]:
            body[name] = self._field(name)
        if draw.random() < 0.5:
            body["requestId"] = draw.choice(IDS)
        return body

    def _field(self, name: str) -> Any:
        draw = self.random
        match name:
            case "channel":
                return draw.choice(CHANNELS[:7] * 6 + CHANNELS)
            case "to" | "from" | "peerId":
                return draw.choice(PEERS[:3] * 8 + PEERS)
            case "data":
                return self.data()
            case "joined" | "left":
                return self._peer_rows()
            case "includeSenderMetadata":
                return draw.choice((True, False) * 4 + (1,))
            case "code":
                return draw.choice(("unknown_type", "channel_not_authorized", "x", "backend_error"))
            case "metadata" | "fromMetadata":
                return draw.choice((None, {}, self._signal()))
            case _:
                return draw.choice((1, 65536) * 6 + (0, 1e3, -1, 1 << 80, None, "1", True))

    def _valid(self) -> str:
        return json.dumps(self.body(), ensure_ascii=self.random.random() < 0.5)

    def _bent(self) -> str:
        """One field is missing, doubled, of another type, or a token that JSON does not know."""
        draw = self.random
        body = self.body()
        key = draw.choice(tuple(body))
        match draw.randrange(4):
            case 0:
                del body[key]
            case 1:
                body[key] = self.data()
            case 2:
                body[draw.choice(("x", "Type", "type ", ""))] = self.data()
            case _:
                text = json.dumps(body | {key: "@@"})
                return text.replace('"@@"', draw.choice(TOKENS))
        return json.dumps(body)

    def _cut(self) -> str:
        """Cut off within a character's bytes, or with some of its characters changed, swapped or repeated."""
        draw = self.random
        text = self._valid()
        if draw.random() < 0.3:
            raw = text.encode("utf-8", "surrogatepass")
            return raw[: draw.randrange(len(raw))].decode("utf-8", draw.choice(("replace", "surrogateescape")))
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(text))
            text = text[:at] + draw.choice(BYTES) * draw.randrange(3) + text[at + draw.randrange(3) :] or "x"
        return text

    def _scrambled(self) -> str:
        """Random bytes as a careless decoder would hand them over."""
        return self.raw().decode("utf-8", self.random.choice(("replace", "surrogateescape", "ignore")))

    def _noise(self) -> str:
        draw = self.random
        return "".join(draw.choice((*BYTES, *TOKENS[:4], '"type"', '"subscribe"')) for _ in range(draw.randrange(30)))

    def _deep(self) -> str:
        """Nested beyond what a parser's stack takes, or just within it."""
        draw = self.random
        depth = draw.choice((5, 50, 400, 990, 3000, 30_000) if draw.random() < 0.1 else (5, 50, 200))
        start, end = draw.choice((("[", "]"), ('{"a":', "}")))
        value = start * depth + "1" + end * (depth if draw.random() < 0.8 else depth - 1)
        kind = draw.choice(("publish", "send", "message", "direct", "welcome"))
        address = '"channel":"home","to":"anna","from":"ben","peerId":"x","serverTime":1,"maxMessageSize":1'
        return f'{{"type":"{kind}",{address},"data":{value},"metadata":{value}}}'

    def _any_json(self) -> str:
        return json.dumps(self.data())


_FIELDS: dict[str, tuple[str, ...]] = {
    "subscribe": ("channel", "includeSenderMetadata"),
    "unsubscribe": ("channel",),
    "publish": ("channel", "data"),
    "send": ("to", "data"),
    "ping": (),
    "welcome": ("peerId", "expiresAt", "serverTime", "maxMessageSize", "metadata"),
    "ack": (),
    "error": ("code", "message"),
    "message": ("channel", "from", "data", "fromMetadata"),
    "direct": ("from", "data", "fromMetadata"),
    "presence": ("channel", "joined", "left"),
    "going_away": ("retryAfterMs",),
    "pong": (),
    "nonsense": ("data",),
}
