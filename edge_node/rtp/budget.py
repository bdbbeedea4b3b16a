"""Which of the packets that receivers ask for are sent again."""

from __future__ import annotations

SHARE = 0.2
"""Of the media sent: repairs beyond that feed the congestion that made them necessary."""
CREDIT_BYTES = 12_000
MAX_SAVED_S = 1.0
MIN_REPEAT_S = 0.005
RTT_SHARE = 0.8
MAX_RTT_S = 1.0
MAX_REMEMBERED = 2000
GRACE_S = 0.2
GRACE_RTTS = 2.0
UNKNOWN_RTT_GRACE_S = 0.6
"""Two round trips of a far path: none has been measured in a connection's first seconds."""


def round_trip_s(rtt_s: float | None) -> float:
    """What was measured, made sense of: unknown, or negative because a clock stepped, is 0."""
    return min(MAX_RTT_S, max(0.0, rtt_s or 0.0))


def is_wanted(keyframe_age_s: float | None, rtt_s: float | None) -> bool:
    """Whether a packet is worth repairing; the age is that of a keyframe that came after it, None without one.

    Viewers go on from the keyframe. One that loses the last packet before it learns of that only when it has come, and
    some viewers (aiortc) wait for it all the same.
    """
    if keyframe_age_s is None:
        return True
    grace_s = UNKNOWN_RTT_GRACE_S if rtt_s is None else max(GRACE_S, GRACE_RTTS * round_trip_s(rtt_s))
    return keyframe_age_s <= grace_s


class Budget:
    """Bytes of repairs that may be sent, earned by media: SHARE of it, less when the path carries less than is sent.

    `refused` counts packets that were asked for and not sent for want of budget.
    """

    def __init__(self) -> None:
        self._bytes = float(CREDIT_BYTES)
        self.refused = 0

    def earn(self, sent: int, stream_kbps: float, path_kbps: int | None) -> None:
        """So many bytes of media left; `stream_kbps` is the stream's rate, 0 while unknown, `path_kbps` REMB."""
        share = SHARE
        if path_kbps is not None and stream_kbps > path_kbps:
            share *= path_kbps / stream_kbps
        most = max(CREDIT_BYTES, stream_kbps * 125 * SHARE * MAX_SAVED_S)
        self._bytes = min(most, self._bytes + sent * share)

    def spend(self, size: int) -> bool:
        """Whether a repair of so many bytes may go out."""
        if size > self._bytes:
            self.refused += 1
            return False
        self._bytes -= size
        return True


class Repeats:
    """Recognises requests that were answered a moment ago: the answer may still be on its way.

    `suppressed` counts them.
    """

    def __init__(self) -> None:
        self._answered: dict[int, float] = {}
        self.suppressed = 0

    def is_new(self, number: int, now: float, rtt_s: float | None) -> bool:
        """Whether a request for this packet, arriving now, is no repetition; the caller answers it then.

        `rtt_s` may be unknown or nonsense (clocks step): it is clamped.
        """
        patience = max(MIN_REPEAT_S, RTT_SHARE * round_trip_s(rtt_s))
        answered_at = self._answered.pop(number, None)
        if answered_at is not None and now - answered_at < patience:
            self._answered[number] = answered_at
            self.suppressed += 1
            return False
        self._answered[number] = now
        if len(self._answered) > MAX_REMEMBERED:
            del self._answered[next(iter(self._answered))]
        return True
