"""What bit rate the one encoder runs at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

# Congestion starts before the estimate is reached; packet headers and repairs need their share.
HEADROOM = 0.85
# No estimate (REMB) comes in the first 4-5 s of a viewer, so a stream begins low and climbs by itself. A keyframe of
# a stream at 0.5-0.8 Mbit/s passes a path of 1 Mbit/s in 0.2 s; at 2 Mbit/s the first picture came after 8 s.
START_SHARE = 0.4
START_MOST_KBPS = 800
RAMP_S = 4.0
# An estimate that falls by a fifth at once has a full queue behind it: only sending less than arrives empties that.
FALL_SHARE = 0.8
DRAIN_HEADROOM = 0.5
DRAIN_S = 1.5
BEHIND_SHARE = 0.5
"""A viewer whose path carries less than this share of what the next one's does may be left behind."""
MOST_BEHIND = 3
"""One in this many viewers may be left behind, at least one of two."""
# The loss in a receiver report (RFC 3550) above which Google's congestion control gives way.
LOSS_HEAVY = 0.10
# Browsers report with each request for a repair, too: of ten packets one is soon lost on a radio.
LOSS_ROUND_S = 1.0
RECOVERY = 1.08
USED_SHARE = 0.85
"""Of what a path is thought to carry: a quiet scene needs less, and REMB, which follows what is received, then stays at
half as much again."""


@dataclass(frozen=True, slots=True)
class SharedRate:
    """What one encoder should aim at for all; `behind` are the indexes of the viewers that cannot take that much."""

    kbps: int
    behind: frozenset[int] = frozenset()


def shared_rate(asked_kbps: Sequence[int]) -> SharedRate:
    """The policy for one encoder that several viewers watch, each on a path of its own (at least one; kbit/s).

    A viewer alone is obeyed. Of several the narrowest path counts, as long as it is not far from the others: going a
    little lower costs them little. One that carries less than half of the next one's does not count: after a dip an
    estimate (REMB) takes half a minute to recover, and everybody would suffer so long. At most a third of the viewers,
    of two one, are left behind like that; they are `behind` and have to be thinned: each gets what its own path
    carries, to the next keyframe at worst. When more paths than that are narrow, it is the source that is too fast,
    and the narrowest that still counts is obeyed.
    """
    order = sorted(range(len(asked_kbps)), key=lambda index: asked_kbps[index])
    allowed = max(1, len(order) // MOST_BEHIND) if len(order) > 1 else 0
    cut = 0
    for rank in range(1, allowed + 1):
        if asked_kbps[order[rank - 1]] < BEHIND_SHARE * asked_kbps[order[rank]]:
            cut = rank
    return SharedRate(asked_kbps[order[cut]], frozenset(order[:cut]))


class LossEstimate:
    """What a path seems to carry by its receiver reports, for the seconds before the viewer's own estimate comes.

    `highest` is the last sequence number before the stream.
    """

    def __init__(self, highest: int, now: float) -> None:
        self._kbps: float | None = None
        self._round = (now, highest, 0)

    def heard(self, sent_kbps: float, highest: int, lost: int, now: float) -> int | None:
        """A report came, with both counts since the start (RFC 3550 section 6.4.1): the path in kbit/s, or None while
        nothing new is known of it.

        Below LOSS_HEAVY a lossy radio is as likely as a full queue: that lowers nothing, and after a dip the estimate
        climbs by RECOVERY a round.
        """
        began, before, lost_before = self._round
        if now - began < LOSS_ROUND_S or highest <= before:
            return None
        self._round = (now, highest, lost)
        fraction_lost = min(1.0, (lost - lost_before) / (highest - before))
        if fraction_lost >= LOSS_HEAVY:
            # Half as much again below what arrived: the queue that overflowed has to empty as well.
            self._kbps = sent_kbps * (1 - fraction_lost) * (1 - fraction_lost / 2)
        elif self._kbps is not None:
            self._kbps *= RECOVERY
        return None if self._kbps is None else int(self._kbps)


class BitrateControl:
    """Begins low, climbs to the ceiling within RAMP_S, obeys the viewers' paths; all in kbit/s."""

    def __init__(self, floor_kbps: int, ceiling_kbps: int) -> None:
        self._floor = floor_kbps
        self._ceiling = ceiling_kbps
        self._path: int | None = None
        self._falls = False
        self._fell_from = 0
        self._drained_at = 0.0
        self._begun_at: float | None = None

    def set_limits(self, floor_kbps: int, ceiling_kbps: int) -> None:
        """Another plan."""
        self._floor, self._ceiling = floor_kbps, ceiling_kbps

    def limited_by_path(self, sent_kbps: float) -> bool:
        """Whether a viewer's path carries less than the ceiling, and the pictures take what there is of it."""
        carried = 0.0 if self._path is None else self._path * HEADROOM
        return 0.0 < carried < self._ceiling and sent_kbps >= USED_SHARE * carried

    def begin(self, now: float) -> None:
        """The first viewer came: nothing is known about its path."""
        self._begun_at = now
        self._path = None

    def path_carries(self, kbps: int) -> None:
        """The viewers' paths, as shared_rate() sees them, carry about this much."""
        if self._path is not None and kbps < FALL_SHARE * self._path and kbps < self._ceiling:
            self._falls, self._fell_from = True, max(self._fell_from, self._path)
        elif kbps >= FALL_SHARE * self._fell_from:
            self._falls, self._drained_at = False, 0.0  # a hiccup
        self._path = kbps

    def target_kbps(self, now: float) -> int:
        """What to encode at, between floor and ceiling."""
        climbed = 1.0 if self._begun_at is None else min(1.0, max(0.0, now - self._begun_at) / RAMP_S)
        start = min(START_SHARE * self._ceiling, START_MOST_KBPS)
        target = start + (self._ceiling - start) * climbed
        if self._path is not None:
            if self._falls:
                self._falls, self._drained_at = False, now + DRAIN_S
            drains = now < self._drained_at
            self._fell_from = self._fell_from if drains else 0
            share = DRAIN_HEADROOM if drains else HEADROOM
            target = min(self._path * share, self._ceiling)
        return int(max(self._floor, min(target, self._ceiling)))
