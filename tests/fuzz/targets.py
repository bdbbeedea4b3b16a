"""What the frames are thrown at: each target takes a frame and checks that its own state stays small and sound."""

from __future__ import annotations

import json
from collections import Counter
from random import Random
from typing import Any, Protocol

from edge_node.protocol import payloads, sdp
from edge_node.protocol.codec import decode_client, decode_server, encode
from edge_node.protocol.frames import Malformed
from edge_node.protocol.grants import Grant, Refusal, grant_from_claims, scope
from edge_node.protocol.hub import HubMachine
from edge_node.protocol.hub_events import (
    Close,
    Connected,
    Disconnected,
    HubEffect,
    HubLimits,
    Inject,
    Kick,
    Received,
    SendText,
    Shutdown,
)
from tests.fuzz.frames import CHANNELS, PEERS, SDP, Frames

# RFC 6455 section 5.5: a control frame carries 125 bytes, two of a close frame's are its code.
MAX_CLOSE_REASON_BYTES = 123


class Target(Protocol):
    """`feed` raises when something is wrong; `rest` lets it come to rest, as empty as at its start."""

    high_water: Counter[str]
    """How large its tables were at most, or how often it has seen what."""

    def feed(self, text: str) -> None: ...

    def rest(self) -> None: ...


class CodecTarget:
    """Both decoders; what was understood is written, read again and is the same."""

    def __init__(self, frames: Frames) -> None:
        self.high_water: Counter[str] = Counter()
        self._frames = frames

    def feed(self, text: str) -> None:
        for decode in (decode_client, decode_server):
            frame = decode(text)
            self.high_water[f"{decode.__name__} {type(frame).__name__}"] += 1
            if isinstance(frame, Malformed):
                assert frame.reason and frame.code
                continue
            try:
                again = encode(frame)
            except (ValueError, RecursionError):
                continue  # infinity by way of 1e999, or too deep to be written: callers expect that
            # A raw surrogate comes over no wire, and two of them become one character in JSON.
            assert _has_surrogate(text) or decode(again) == frame, again[:500]
            again.encode()  # no lone surrogate gets onto a wire
            read_contents(getattr(frame, "data", None), getattr(frame, "metadata", None))
        if self._frames.random.random() < 0.1:
            read_description(self._frames.sdp())

    def rest(self) -> None:
        """It has no state."""


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def read_contents(data: Any, metadata: Any) -> None:
    """What is inside `data` and `metadata`: signals, descriptions, ICE servers, a token's claims."""
    found = payloads.read(data)
    if isinstance(found, payloads.Description):
        read_description(found.sdp)
    if isinstance(metadata, dict):
        payloads.ice_servers(metadata)
    if isinstance(data, dict):
        now = 1e9
        claims = {"sub": "x", "exp": now + 60, "channels": ["**"], "permissions": ["send"]} | data
        assert isinstance(grant_from_claims(claims, now), Grant | Refusal)


def read_description(text: str) -> None:
    """Everything that is done to a remote description before aiortc sees it."""
    sdp.read(text)
    sdp.ufrag(text)
    sdp.primary_mid(text)
    sdp.for_one_transport(text)
    sdp.stand_in(text, ["0"])
    sdp.refuses(text, SDP)
    sdp.pin(SDP, [text])


class HubTarget:
    """A hub with few places: clients come, say the frames, go; time passes; the control plane interferes."""

    LIMITS = HubLimits(max_connections=12, max_channels=6, rate_per_s=1000, burst=2000, leave_grace_s=0.5)

    def __init__(self, frames: Frames) -> None:
        self.high_water: Counter[str] = Counter()
        self._frames = frames
        self._random: Random = frames.random
        self._machine = HubMachine(self.LIMITS)
        self._now = 0.0
        self._last = 0
        self._open: set[int] = set()
        self._grants = (
            ((scope(["**"]),), None),
            ((scope(["home", "a/*"], ["subscribe", "publish"]),), {"name": "x"}),
            ((scope(["**"]), scope(["work"], ["presence", "subscribe", "send"])), {"name": "\ud800"}),
        )

    def feed(self, text: str) -> None:
        draw = self._random
        self._now += 0.001
        if len(self._open) < 4 or draw.random() < 0.02:
            self._connect()
        if draw.random() < 0.03:
            self._interfere()
        if self._open:
            conn = draw.choice(tuple(self._open))
            data = self._frames.raw() if draw.random() < 0.01 else text
            self._apply(self._machine.handle(Received(conn, data), self._now))
        self._check()

    def _connect(self) -> None:
        draw = self._random
        self._last += 1
        scopes, metadata = draw.choice(self._grants)
        lifetime_s = draw.choice((None, None, 0.1, 30.0))
        grant = Grant(draw.choice(("anna", "ben", "door", "f", "g")), scopes, None, None, metadata)
        self._open.add(self._last)
        self._apply(self._machine.handle(Connected(self._last, grant, 1, lifetime_s), self._now))

    def _interfere(self) -> None:
        draw = self._random
        match draw.randrange(20):
            case 0:
                self._apply(self._machine.handle(Shutdown(1), self._now))
            case 1:
                self._apply(self._machine.handle(Kick(draw.choice(PEERS)), self._now))
            case 2 | 3 | 4:
                inject = Inject(draw.choice(CHANNELS), self._frames.data(), "backend", draw.choice((None, {"a": 1})))
                self._apply(self._machine.handle(inject, self._now))
            case 5 | 6 | 7 | 8:
                conn = draw.choice((*self._open, self._last + 1000))
                self._open.discard(conn)
                self._apply(self._machine.handle(Disconnected(conn), self._now))
            case _:
                self._now += draw.choice((0.0, 0.3, 2.0))
                self._apply(self._machine.tick(self._now))

    def _apply(self, effects: list[HubEffect]) -> None:
        for effect in effects:
            match effect:
                case SendText(to, text):
                    assert to and self._open.issuperset(to) and len(set(to)) == len(to), to
                    assert json.loads(text)["type"]
                case Close(conn, _, reason):
                    assert reason and len(reason.encode()) <= MAX_CLOSE_REASON_BYTES
                    self._open.remove(conn)

    def _check(self) -> None:
        machine, limits = self._machine, self.LIMITS
        sizes = {
            "hub connections": machine.connections,
            "hub peers": len(machine._by_peer),
            "hub channels": machine.channels,
            "hub patterns": machine.presence.roster.patterns,
            "hub leaving": len(machine.presence.leaving),
        }
        for name, size in sizes.items():
            self.high_water[name] = max(self.high_water[name], size)
        most = limits.max_connections * limits.max_channels
        assert machine.connections == len(self._open) <= limits.max_connections
        assert sizes["hub peers"] <= machine.connections
        assert sizes["hub channels"] + sizes["hub patterns"] <= most
        assert sizes["hub leaving"] <= most * 100, "those of a whole grace period"

    def rest(self) -> None:
        for conn in list(self._open):
            self._open.discard(conn)
            self._apply(self._machine.handle(Disconnected(conn), self._now))
        self._now += 10
        self._apply(self._machine.tick(self._now))
        machine = self._machine
        left = (
            machine.connections,
            machine.channels,
            machine.presence.roster.patterns,
            machine.presence.leaving,
            machine._by_peer,
        )
        assert not any(left), left
        assert machine.deadline is None
