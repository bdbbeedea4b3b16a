"""What is on its way to a receiver, as its reports tell."""

from __future__ import annotations

from edge_node.rtp.history import History

QUEUED_S = 0.05
"""Packets that wait so much longer than the fastest did wait in a queue, not for the receiver's next look."""
EMPTY_IN_S = 0.3
"""So long it may take until a queue is empty again."""
LEAST_SHARE = 0.2
"""Of what is delivered: less would be no picture at all."""
LONG_S, UNSURE_SHARE = 0.1, 0.5
"""A queue that takes longer to become empty is believed, at most to this share, before the estimate has fallen."""
UNSURE_S, DEAF_S = 1.0, 30.0
"""If the estimate does not fall in that time, the queue was a moment's of a radio, or the route became longer: none but
the estimate is believed for so long."""
FALL_SHARE = 0.97
"""A browser tells at once of an estimate that falls so far, else five times a second."""
ROUND_S = 0.15
"""Reports that follow each other closer (they carry requests for repairs) are no measure of a rate."""
FORGET_S = 10.0
"""For so long the fastest packet is the measure of an empty path: routes change."""


class Flight:
    """How much of the media a path delivers, how much waits in front of it; from what receiver reports confirm.

    It knows nothing before the second report; lost packets count as delivered.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._round: tuple[float, int] | None = None
        self._fastest_s: tuple[float, float] = (float("inf"), float("inf"))
        self._forget_at = 0.0
        self._estimate_kbps = 0
        self._falls = False
        self._unsure_since: float | None = None
        self._deaf_until = 0.0
        self._heard_at = 0.0
        self.delivered_kbps: float | None = None
        self.waiting_bytes = 0
        """Beyond what an empty path holds; 0 while nothing queues."""

    def heard(self, highest: int, sent_bytes: int, now: float) -> None:
        """A report confirms the packets up to the 16-bit number `highest`; `sent_bytes` left since the start."""
        way_bytes, since, confirmed_at = self._history.beyond(highest)
        if confirmed_at is None:
            return
        self._heard_at = now
        if now >= self._forget_at:
            self._forget_at, self._fastest_s = now + FORGET_S, (self._fastest_s[1], float("inf"))
        self._fastest_s = (self._fastest_s[0], min(self._fastest_s[1], now - confirmed_at))
        arrived = sent_bytes - way_bytes
        if self._round is None:
            self._round = (now, arrived)
        elif now - self._round[0] >= ROUND_S:
            self.delivered_kbps = max(0, arrived - self._round[1]) / 125 / (now - self._round[0])
            self._round = (now, arrived)
        fastest_s = min(self._fastest_s)
        queues = since is not None and now - since - fastest_s >= QUEUED_S
        empty = (self.delivered_kbps or 0.0) * 125 * fastest_s
        self.waiting_bytes = max(0, int(way_bytes - empty)) if queues else 0

    def carries(self, kbps: int) -> int:
        """What a path that is estimated at so much may be given, so that its queue is empty in EMPTY_IN_S.

        All of that once the receiver, too, has found that its path got worse. Chromium takes 0.2 to 0.4 s for that, in
        which the queue overflows: until then only a long queue counts, and less.
        """
        fell, self._estimate_kbps = kbps < FALL_SHARE * self._estimate_kbps, kbps
        self._falls = self.waiting_bytes > 0 and (self._falls or fell)
        if self.delivered_kbps is None:
            return kbps
        path = min(kbps, self.delivered_kbps)
        free = max(LEAST_SHARE * path, path - self.waiting_bytes / 125 / EMPTY_IN_S)
        if self._falls:
            self._unsure_since = None
            return int(free)
        return int(max(UNSURE_SHARE * kbps, free)) if self._suspects(self.delivered_kbps) else kbps

    def _suspects(self, delivered_kbps: float) -> bool:
        """Whether the queue is believed although the estimate did not fall."""
        now, since = self._heard_at, self._unsure_since
        if since is not None and (not self.waiting_bytes or now - since > UNSURE_S):
            self._unsure_since, self._deaf_until = None, now + DEAF_S
        elif since is None and now >= self._deaf_until and self.waiting_bytes > delivered_kbps * 125 * LONG_S:
            self._unsure_since = now
        return self._unsure_since is not None
