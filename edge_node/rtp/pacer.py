"""How fast packets may leave, so that a keyframe does not overflow a queue on its way."""

from __future__ import annotations

DEPTH_BYTES = 12_000
"""An ordinary picture leaves at once."""
BURST_BYTES = 6000
"""What waited leaves in bursts of five packets: less costs wake-ups, more overflows small queues."""
DEPTH_S = 0.01
START_KBPS = 8000
"""Of payload, while nothing is known: with its headers it passes a path of 10 Mbit/s and a queue of 20 kB."""
START_FACTOR = 2.0
"""Of the stream's rate; small, as a remembered group doubles the rate that is measured in the first second."""
OPEN_FLOOR_KBPS = 4000
FLOOR_KBPS = 1000
PATH_FACTOR = 2.5
THINNED_FLOOR_KBPS = 700
THINNED_FACTOR = 1.1
STREAM_FACTOR = 3.0
INTERFACE_SHARE = 0.5
INTERFACE_FLOOR_KBPS = 20_000
INTERFACE_DEPTH_S = 0.05
METER_S = 1.0


def pace_kbps(stream_kbps: float, path_kbps: int | None, *, thinned: bool = False) -> float:
    """Near what the path carries.

    `path_kbps` is REMB, which follows what is received: below the stream's rate it speaks of a narrow path, above it of
    nothing much. `stream_kbps` is 0 while unknown. A `thinned` stream is one that the path cannot carry, although what
    is left of it is below the estimate: its keyframes take their time, as each queue they made would lower that.
    """
    if path_kbps is None:
        return max(START_KBPS, START_FACTOR * stream_kbps)
    if thinned:
        return max(THINNED_FLOOR_KBPS, THINNED_FACTOR * path_kbps)
    if path_kbps < stream_kbps:
        return max(FLOOR_KBPS, PATH_FACTOR * path_kbps)
    return max(OPEN_FLOOR_KBPS, min(STREAM_FACTOR * stream_kbps, PATH_FACTOR * path_kbps))


class Meter:
    """The rate of a stream, over periods of about METER_S; `kbps` is 0 until the first one has passed."""

    def __init__(self) -> None:
        self.kbps = 0.0
        self._bytes = 0
        self._since: float | None = None

    def add(self, size: int, now: float) -> bool:
        """So many bytes now; True when `kbps` is new."""
        if self._since is None:
            self._since = now
        self._bytes += size
        passed = now - self._since
        if passed < METER_S:
            return False
        # After a pause nothing is known of the rate before it.
        fresh = self._bytes / 125 / passed
        self.kbps = fresh if self.kbps == 0.0 else 0.5 * self.kbps + 0.5 * fresh
        self._bytes, self._since = 0, now
        return True


class Pacer:
    """A token bucket that may go into debt; it holds DEPTH_BYTES, or what the pace fills in DEPTH_S."""

    def __init__(self, kbps: float = START_KBPS) -> None:
        self.kbps = kbps
        self.depth = self._depth()
        self._bytes = self.depth
        self._at: float | None = None

    def _depth(self) -> float:
        return max(DEPTH_BYTES, self.kbps * 125 * DEPTH_S)

    def set_pace(self, kbps: float) -> None:
        """Another pace from now on."""
        self.kbps = kbps
        self.depth = self._depth()

    def allowance(self, now: float) -> float:
        """Bytes that may leave now; negative after a debt."""
        if self._at is not None:
            self._bytes = min(self.depth, self._bytes + max(0.0, now - self._at) * self.kbps * 125)
        self._at = now
        return self._bytes

    def spend(self, size: int, now: float) -> None:
        """So many bytes left, whether or not they were allowed."""
        self._bytes = self.allowance(now) - size

    def wait_s(self, size: float, now: float) -> float:
        """Seconds until so many bytes may leave; 0 when they may now."""
        missing = min(size, self.depth) - self.allowance(now)
        return missing / (self.kbps * 125) if missing > 0 else 0.0


class SharedPacer(Pacer):
    """What all viewers behind one network interface send together: large pictures of many viewers take turns.

    Ordinary pictures are charged, but do not wait for it.
    """

    def __init__(self) -> None:
        self._streams: dict[object, float] = {}
        super().__init__(INTERFACE_FLOOR_KBPS)

    def _depth(self) -> float:
        return self.kbps * 125 * INTERFACE_DEPTH_S

    def set_stream(self, key: object, kbps: float) -> None:
        """One stream's own pace; 0 when it ends."""
        if kbps:
            self._streams[key] = kbps
        else:
            self._streams.pop(key, None)
        self.set_pace(max(INTERFACE_FLOOR_KBPS, INTERFACE_SHARE * sum(self._streams.values())))
