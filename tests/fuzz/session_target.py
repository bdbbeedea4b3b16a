"""The client's session as a target: a server that says anything, a socket that breaks, a user who keeps asking."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

from edge_node.protocol.frames import Publish, Send, Subscribe, Unsubscribe
from edge_node.protocol.names import WsCloseCode
from edge_node.protocol.session import REPLAY_RETRIES, Session
from edge_node.protocol.session_events import (
    Close,
    CloseSocket,
    Connect,
    Effect,
    Lost,
    Opened,
    OpenSocket,
    Received,
    Rejected,
    Request,
    Resolved,
    SendText,
    SessionEvent,
    SessionPolicy,
    TokenFailed,
)
from tests.fuzz.frames import Frames

CHANNELS = ("home", "work", "a/b", "ü")
MOST_REQUESTS = 30
WELCOME = '{"type":"welcome","peerId":"me","expiresAt":null,"serverTime":1,"maxMessageSize":400}'
CODES = (1000, 1001, 1006, 1008, *(int(code) for code in WsCloseCode), 9999)


class SessionTarget:
    """Every request is answered exactly once, whatever happens; nothing is sent without a socket."""

    def __init__(self, frames: Frames) -> None:
        self.high_water: Counter[str] = Counter()
        self._frames = frames
        self._random: Random = frames.random
        self._session = Session(SessionPolicy(retry_first=True))
        self._now = 0.0
        self._wire = 0
        self._waiting: set[str] = set()

    def feed(self, text: str) -> None:
        draw = self._random
        self._now += draw.choice((0.001, 0.01))
        if self._session.state in ("idle", "closed"):
            self._tell(Connect())
        elif self._session.state != "connected" and draw.random() < 0.3:
            self._tell(Opened(self._wire))
            self._tell(Received(self._wire, WELCOME))
        if draw.random() < 0.05:
            self._ask()
        if draw.random() < 0.04:
            self._interfere()
        if self._waiting and draw.random() < 0.05:
            answer = {
                "type": draw.choice(("ack", "error")),
                "requestId": draw.choice(tuple(self._waiting)),
                "code": "x",
            }
            self._tell(Received(self._wire, json.dumps(answer)))
        self._tell(Received(self._wire - draw.choice((0, 0, 0, 1)), text))
        self._check()

    def _ask(self) -> None:
        draw = self._random
        if len(self._waiting) >= MOST_REQUESTS:
            return
        rid, channel = self._session.new_id(), draw.choice(CHANNELS)
        self._waiting.add(rid)
        match draw.randrange(4):
            case 0:
                self._tell(Request(Subscribe(channel, rid, draw.random() < 0.5)))
            case 1:
                self._tell(Request(Unsubscribe(channel, rid)))
            case 2:
                self._tell(Request(Publish(channel, self._frames.data(), rid)))
            case _:
                self._tell(Request(Send("anna", self._frames.data(), rid)))

    def _interfere(self) -> None:
        draw = self._random
        match draw.randrange(20):
            case 0:
                self._tell(Close())
            case 1 | 2:
                self._tell(Lost(self._wire, draw.choice(CODES), "", draw.random()))
            case 3:
                self._tell(TokenFailed(self._wire, ValueError("no token"), draw.random()))
            case 4:
                self._tell(Connect())
            case _:
                self._now += draw.choice((0.0, 1.0, 2.5, 40.0))
                self._apply(self._session.tick(self._now, draw.random()))

    def _tell(self, event: SessionEvent) -> None:
        self._apply(self._session.handle(event, self._now))

    def _apply(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case OpenSocket(wire):
                    assert wire > self._wire
                    self._wire = wire
                case CloseSocket(wire):
                    assert wire == self._wire
                case SendText(text):
                    assert self._session._wire_up and json.loads(text)
                case Resolved(rid) | Rejected(rid):
                    self._waiting.remove(rid)  # a second answer raises KeyError

    def _check(self) -> None:
        session = self._session
        own = {rid for rid, pending in session._pending.items() if not pending.replay}
        assert own == self._waiting, "a request was forgotten, or lives on after its answer"
        replays = len(session._pending) - len(own)
        sizes = {"requests": len(own), "replays": replays, "channels": len(session.channels)}
        for name, size in sizes.items():
            self.high_water[f"session {name}"] = max(self.high_water[f"session {name}"], size)
        assert len(session.channels) <= len(CHANNELS)
        assert replays <= len(CHANNELS) * (REPLAY_RETRIES + 1)
        waits = session.state in ("connected", "reconnecting")
        assert not waits or session.deadline is not None or session._wire_up, "nothing would ever wake it"

    def rest(self) -> None:
        self._tell(Close())
        session = self._session
        assert not self._waiting and not session._pending and not session.channels
        assert session.deadline is None
