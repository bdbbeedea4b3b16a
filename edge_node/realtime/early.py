"""Signals of peers the roster does not know yet, kept for a moment."""

from __future__ import annotations

from collections import deque
from typing import Any

SIGNALS_PER_PEER = 32
PEERS = 64
KEEP_S = 5.0


class EarlySignals:
    """The order of presence and direct messages is not promised: what comes first waits here.

    Overflow rule: beyond SIGNALS_PER_PEER of one peer, or PEERS peers, the newest is dropped and counted in `dropped`.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[tuple[float, Any]]] = {}
        self.dropped = 0

    def keep(self, peer_id: str, data: Any, now: float) -> None:
        """Keeps one signal for KEEP_S seconds."""
        self._expire(now)
        if peer_id not in self._waiting and len(self._waiting) >= PEERS:
            self.dropped += 1
            return
        queue = self._waiting.setdefault(peer_id, deque())
        if len(queue) >= SIGNALS_PER_PEER:
            self.dropped += 1
            return
        queue.append((now, data))

    def take(self, peer_id: str, now: float) -> list[Any]:
        """What this peer said within the last KEEP_S seconds, in order."""
        self._expire(now)
        return [data for _, data in self._waiting.pop(peer_id, ())]

    def forget(self, peer_id: str) -> None:
        self._waiting.pop(peer_id, None)

    def clear(self) -> None:
        self._waiting.clear()

    def _expire(self, now: float) -> None:
        for peer_id, queue in list(self._waiting.items()):
            while queue and now - queue[0][0] > KEEP_S:
                queue.popleft()
            if not queue:
                del self._waiting[peer_id]
