"""One fuzzing run: frames into targets, with an eye on memory."""

from __future__ import annotations

import gc
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz.frames import Frames
from tests.fuzz.session_target import SessionTarget
from tests.fuzz.targets import CodecTarget, HubTarget, Target

MAX_GROWTH_BLOCKS = 2_000
"""What two halves may differ by when everything is at rest: caches of the interpreter, never one object per frame.

124 to 439 blocks were seen over 20,000 frames in a process of its own.
"""


class Failed(AssertionError):
    """Something broke; its text says how to repeat it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`growth_blocks`: memory blocks more at the end than halfway, with every target at rest."""

    frames: int
    seconds: float
    growth_blocks: int
    high_water: Counter[str]


def fuzz(count: int, seed: int, tell: Callable[[int], None] = lambda done: None) -> Outcome:
    """Throws `count` frames at every target. Raises Failed with the frame that broke one."""
    frames = Frames(seed)
    targets: list[Target] = [CodecTarget(frames), HubTarget(frames), SessionTarget(frames)]
    started = time.monotonic()
    _feed(targets, frames, range(count // 2), seed, tell)
    halfway = _at_rest(targets)
    _feed(targets, frames, range(count // 2, count), seed, tell)
    growth = _at_rest(targets) - halfway
    if growth > MAX_GROWTH_BLOCKS:
        raise Failed(f"memory grew by {growth} blocks in the second half (seed {seed}, {count} frames)")
    seen: Counter[str] = Counter()
    for target in targets:
        seen.update(target.high_water)
    return Outcome(count, time.monotonic() - started, growth, seen)


def _feed(targets: list[Target], frames: Frames, numbers: range, seed: int, tell: Callable[[int], None]) -> None:
    for number in numbers:
        text = frames.text()
        for target in targets:
            try:
                target.feed(text)
            except Exception as err:
                name = type(target).__name__
                raise Failed(f"{name}: {err!r} at frame {number} of seed {seed}: {text[:2000]!r}") from err
        if number % 10_000 == 0:
            tell(number)


def _at_rest(targets: list[Target]) -> int:
    """Allocated memory blocks when nothing is going on."""
    for target in targets:
        target.rest()
    gc.collect()
    return sys.getallocatedblocks()
