"""How much sound to hold back, from how unsteadily packets come."""

from __future__ import annotations

from edge_node.dsp.pcm import RATE

START_MS = 60.0
MIN_MS = 40.0
MAX_MS = 200.0
BASE_MS = 27.0
PER_JITTER = 9.0
"""Of 30,000 packets (10 min) with exponential delay about one in all is later than nine times the mean, plus BASE_MS:
a level of L, the newest packet counted in, covers a delay of L - 20 ms (that packet) + 10 ms + the mean."""
PACKET_MS = 20.0
"""What BASE_MS takes a packet for: one that is longer is held for that much more."""
TRUSTED_PACKETS = 100
"""So many packets (2 s) tell the jitter well enough to hold less than START_MS."""
MEMORY_PACKETS = 128
PRIOR_PACKETS = 6
"""So many packets' worth of the usual jitter is believed in before the first one."""
MAX_DEVIATION_MS = 200.0
"""A timestamp that jumped is no jitter."""
EASE_MS_PER_S = 0.5
"""How fast the target falls: slower than the speed control may follow."""
LATE_STEP_MS = 20.0


class DelayTarget:
    """measure() each packet, late() each that came too late to be played; `samples` is what to hold."""

    def __init__(self) -> None:
        self._transit_ms: float | None = None
        self._jitter_ms = (START_MS - BASE_MS) / PER_JITTER
        self._packets = 0
        self._held_ms = MIN_MS
        self._first_ms = START_MS
        """What the first packets ask for: too few to be remembered."""
        self._eased_at: float | None = None
        self._longer_ms = 0.0
        """By how much the sender's packets are longer than PACKET_MS."""

    @property
    def ms(self) -> float:
        """The target, MIN_MS to MAX_MS."""
        return min(MAX_MS, self._for_jitter_ms + self._longer_ms)

    @property
    def unsteady(self) -> bool:
        """Whether the network asks for more than START_MS: packets are late rather than lost there."""
        return self._for_jitter_ms > START_MS

    @property
    def _for_jitter_ms(self) -> float:
        if self._packets >= TRUSTED_PACKETS:
            return self._held_ms
        return min(MAX_MS, max(START_MS, self._first_ms, self._held_ms))

    @property
    def samples(self) -> int:
        return int(self.ms * RATE / 1000)

    def measure(self, pts: int, now: float, frames: int) -> None:
        """A packet of `frames` samples, the first of them number `pts`, came at `now` seconds."""
        self._longer_ms = max(0.0, frames * 1000.0 / RATE - PACKET_MS)
        transit_ms = now * 1000.0 - pts * 1000.0 / RATE
        if self._transit_ms is not None:
            self._packets += 1
            deviation_ms = min(MAX_DEVIATION_MS, abs(transit_ms - self._transit_ms))  # RFC 3550 section 6.4.1
            self._jitter_ms += (deviation_ms - self._jitter_ms) / min(PRIOR_PACKETS + self._packets, MEMORY_PACKETS)
        self._transit_ms = transit_ms
        wanted_ms = min(MAX_MS, BASE_MS + PER_JITTER * self._jitter_ms)
        if self._packets >= TRUSTED_PACKETS:
            self._held_ms = max(wanted_ms, self._held_ms)
        else:
            self._first_ms = wanted_ms

    def late(self, by_ms: float) -> None:
        """A packet came too late for the sound held: hold more from now on."""
        self._held_ms = min(MAX_MS, self._for_jitter_ms + min(by_ms, LATE_STEP_MS))

    def ease(self, now: float) -> None:
        """Time passes: what was held because of the past is given back, slowly."""
        if self._eased_at is not None:
            self._held_ms = max(MIN_MS, self._held_ms - EASE_MS_PER_S * max(0.0, now - self._eased_at))
        self._eased_at = now

    def restart(self) -> None:
        """Timestamps start over; the network is the same."""
        self._transit_ms = None
