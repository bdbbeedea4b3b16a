"""The hub machine joined to its open sockets."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from dataclasses import dataclass, field

from edge_node.hub.config import LimitsConfig
from edge_node.hub.connection import Connection, framed
from edge_node.ports import Clock
from edge_node.protocol.grants import Grant
from edge_node.protocol.hub import HubMachine
from edge_node.protocol.hub_events import (
    Close,
    Connected,
    Disconnected,
    HubEffect,
    HubEvent,
    Received,
    SendText,
)

log = logging.getLogger(__name__)

COMMON_CODES = (1000, 1001, 1006, 4000)
"""A client may choose any code: a label for each would let it fill the memory of whoever collects metrics."""


@dataclass(slots=True)
class Totals:
    """What happened since the hub was made."""

    opened: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    """Credentials not accepted, by close code; HTTP refusals by status."""
    closed: Counter[int] = field(default_factory=Counter)
    """Connections that the hub closed, by close code."""
    left: Counter[str] = field(default_factory=Counter)
    """Connections that the client ended, by close code; `other` for those no SDK of ours uses."""
    rest: Counter[int] = field(default_factory=Counter)
    """Replies of the control plane, by status."""
    too_slow: int = 0
    thrown_away: int = 0
    """Messages that slow clients never got."""
    sent_bytes: int = 0
    peak: int = 0
    deepest: int = 0
    """The most messages that ever waited for one client."""


class Switchboard:
    """Feeds events to the machine, carries out its effects, keeps its one timer. Nothing here waits."""

    def __init__(self, limits: LimitsConfig, clock: Clock) -> None:
        self.machine = HubMachine(limits.machine)
        self.totals = Totals()
        self._clock = clock
        self.machine.quota.roll(clock.monotonic())
        self._connections: dict[int, Connection] = {}
        self._events: deque[HubEvent] = deque()  # bounded: at most one Disconnected per connection, then drained
        self._timer: asyncio.TimerHandle | None = None
        self._timer_for: float | None = None

    def connect(self, connection: Connection, grant: Grant) -> None:
        """A client with a valid credential: gets its welcome, or is closed."""
        self.totals.opened += 1
        self._connections[connection.conn] = connection
        wall = self._clock.wall()
        expires_in_s = None if grant.expires_at is None else grant.expires_at - wall
        self.dispatch(Connected(connection.conn, grant, int(wall), expires_in_s))
        self.totals.peak = max(self.totals.peak, self.machine.connections)
        log.info("connection %d is %s", connection.conn, grant.peer_id)

    def received(self, conn: int, data: str | bytes) -> None:
        self.dispatch(Received(conn, data))

    def disconnect(self, connection: Connection) -> None:
        """The socket is gone."""
        self._connections.pop(connection.conn, None)
        totals = self.totals
        totals.thrown_away += connection.thrown_away
        if (code := connection.closing_code) is not None:
            totals.closed[code] += 1
        else:
            totals.left[str(connection.peer_code) if connection.peer_code in COMMON_CODES else "other"] += 1
        self.dispatch(Disconnected(connection.conn))

    @property
    def depth(self) -> int:
        """The most messages that wait for one client now."""
        return max((connection.depth for connection in self._connections.values()), default=0)

    def dispatch(self, event: HubEvent) -> int:
        """Carries out an event with everything that follows; gives how many connections its own messages went to."""
        return self._settle(self.machine.handle(event, self._clock.monotonic()))

    def _settle(self, effects: list[HubEffect]) -> int:
        reached = self._apply(effects)
        while self._events:
            self._apply(self.machine.handle(self._events.popleft(), self._clock.monotonic()))
        self._set_timer()
        return reached

    def _apply(self, effects: list[HubEffect]) -> int:
        reached = 0
        for effect in effects:
            match effect:
                case SendText(to, text):
                    reached += len(to)
                    self._send(to, framed(text))
                case Close(conn, code, reason):
                    if connection := self._connections.get(conn):
                        log.info("connection %d closed with %d: %s", conn, code, reason)
                        connection.close(code, reason)
        return reached

    def _send(self, to: tuple[int, ...], frame: bytes) -> None:
        connections, totals = self._connections, self.totals
        for conn in to:
            connection = connections.get(conn)
            if connection is None:
                continue
            totals.sent_bytes += len(frame)
            if not connection.send(frame):
                totals.too_slow += 1
                log.warning("connection %d reads too slowly: closed", conn)
                self._events.append(Disconnected(conn))
            elif connection.depth > totals.deepest:
                totals.deepest = connection.depth

    def _set_timer(self) -> None:
        deadline = self.machine.deadline
        if deadline == self._timer_for:
            return
        self.stop_timer()
        if deadline is not None:
            delay_s = max(0.0, deadline - self._clock.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)
            self._timer_for = deadline

    def _tick(self) -> None:
        self._timer_for = None
        self._settle(self.machine.tick(self._clock.monotonic()))

    def stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._timer_for = None
