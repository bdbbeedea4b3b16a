"""What fails when: every kind of fault by turns, in an order and for times drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

HOUR_S = 3600.0
CALM_S = 200.0
"""The end of each hour is without a fault: then memory is compared."""


class Kind(Enum):
    """`wifi` cuts sockets, `silence` lets them lie dead; `clock` jumps by up to 60 years either way."""

    WIFI = "wifi"
    SILENCE = "silence"
    HUB = "hub"
    CAMERA = "camera"
    SOUND = "sound"
    DISK_FULL = "disk full"
    DISK_READ_ONLY = "disk read-only"
    CLOCK = "clock"
    PRIVACY = "privacy"
    POWER = "power"


@dataclass(frozen=True, slots=True)
class Fault:
    """From `at_s` for `lasts_s` seconds; `shift_s` is how far the clock jumps."""

    kind: Kind
    at_s: float
    lasts_s: float
    shift_s: float = 0.0


def faults(hours: float, seed: int) -> list[Fault]:
    """In the order of their beginning; every second one begins before the one before it is over."""
    dice = random.Random(seed)
    found: list[Fault] = []
    kinds = _by_turns(dice)
    hour = 0
    while hour * HOUR_S < hours * HOUR_S:
        begin, end = hour * HOUR_S, min((hour + 1) * HOUR_S, hours * HOUR_S) - CALM_S
        at_s = begin + dice.uniform(20, 60)
        while at_s < end - 10:
            lasts_s = min(dice.choice((2, 8, 30, 120, 600)) * dice.uniform(0.5, 1.5), end - at_s)
            shift_s = dice.choice((-1, 1)) * dice.choice((2, 3600, 86400 * 365, 86400 * 365 * 60))
            found.append(Fault(next(kinds), at_s, lasts_s, shift_s))
            at_s += dice.uniform(0.2, 0.9) * lasts_s if len(found) % 2 else lasts_s + dice.uniform(5, 150)
        hour += 1
    return found


def _by_turns(dice: random.Random) -> Iterator[Kind]:
    while True:
        turn = list(Kind)
        dice.shuffle(turn)
        yield from turn
