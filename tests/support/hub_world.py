"""A hub machine with clients that keep what they were sent."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from edge_node.protocol.frames import Json
from edge_node.protocol.grants import EVERYTHING, Grant, Scope
from edge_node.protocol.hub import HubMachine
from edge_node.protocol.hub_events import (
    Close,
    Connected,
    Disconnected,
    HubEffect,
    HubEvent,
    HubLimits,
    Received,
    SendText,
)


class HubWorld:
    """Drives one machine; `inbox[conn]` holds decoded frames, `closed[conn]` the close code."""

    def __init__(self, limits: HubLimits | None = None) -> None:
        self.machine = HubMachine(limits)
        self.now = 1000.0
        self.inbox: dict[int, list[dict[str, Any]]] = {}
        self.closed: dict[int, int] = {}
        self.texts: list[SendText] = []
        self._next = 0

    def apply(self, effects: Iterable[HubEffect]) -> None:
        for effect in effects:
            match effect:
                case SendText(to, text):
                    self.texts.append(effect)
                    for conn in to:
                        assert conn not in self.closed, "a closed connection was sent something"
                        self.inbox[conn].append(json.loads(text))
                case Close(conn, code, reason):
                    assert reason and len(reason.encode()) <= 123, "RFC 6455 section 5.5: a control frame is short"
                    self.closed[conn] = code

    def handle(self, event: HubEvent) -> None:
        self.apply(self.machine.handle(event, self.now))

    def tick(self, seconds: float) -> None:
        self.now += seconds
        self.apply(self.machine.tick(self.now))

    def connect(
        self,
        peer_id: str,
        *scopes: Scope,
        metadata: Mapping[str, Json] | None = None,
        peer_metadata: Mapping[str, Json] | None = None,
        expires_in_s: float | None = None,
        key_id: str = "",
    ) -> int:
        """Connects; the welcome stays in the inbox."""
        self._next += 1
        conn = self._next
        self.inbox[conn] = []
        expires_at = None if expires_in_s is None else int(self.now + expires_in_s)
        grant = Grant(peer_id, scopes or (EVERYTHING,), expires_at, metadata, peer_metadata, key_id)
        self.handle(Connected(conn, grant, int(self.now), expires_in_s))
        return conn

    def disconnect(self, conn: int) -> None:
        self.handle(Disconnected(conn))

    def say(self, conn: int, **frame: Any) -> None:
        self.handle(Received(conn, json.dumps(frame)))

    def ask(self, conn: int, **frame: Any) -> list[dict[str, Any]]:
        """Says it with a request id; gives (and removes) what this connection was sent because of it."""
        self.take(conn)
        self.say(conn, requestId="r", **frame)
        return self.take(conn)

    def take(self, conn: int) -> list[dict[str, Any]]:
        """What the connection was sent since the last time."""
        taken, self.inbox[conn] = self.inbox[conn], []
        return taken

    def error(self, conn: int, **frame: Any) -> str:
        """Says it and gives the code of the one error it was answered with."""
        (answer,) = self.ask(conn, **frame)
        assert answer["type"] == "error" and answer["requestId"] == "r" and answer["message"]
        code: str = answer["code"]
        return code
