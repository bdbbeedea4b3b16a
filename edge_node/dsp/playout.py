"""The buffer between a network that delivers when it likes and a speaker that needs a block every 10 ms.

Packets are placed by their timestamp, so order and gaps do not matter; `now` only measures how unsteady they come.
Distances in time are in samples at RATE unless the name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_node.dsp.pcm import RATE, Pcm, saturate, silence

MS = RATE // 1000
FADE = 5 * MS
"""Length of every fade: short enough not to be heard as one, long enough not to click."""
START_TARGET_MS = 60
TRUSTED_PACKETS = 100
"""So many packets (2 s) tell the jitter well enough to go below START_TARGET_MS."""
MIN_TARGET_MS = 40
MAX_TARGET_MS = 200
LIVE_MS = 200
"""More than this above the target is thrown away to be live again."""
MAX_PACKETS = 100
"""2 s of 20 ms packets; overflow rule: the oldest goes."""
JUMP = 2 * RATE
"""A timestamp this far from the last one starts a new timeline (a sender that restarted)."""
TARGET_PER_JITTER = 5.0
"""Underruns stay rare when the buffer covers five times the mean deviation (simulated: facts/audio.md, section 3)."""
UNDERRUN_STEP_MS = 20.0
EASE_MS_PER_S = 0.5
"""How fast the extra delay after an underrun is given back."""
SMOOTH_S = 5.0
"""Time constant of the level that steers the speed: a quicker one would follow the jitter."""
DEADBAND = 10 * MS
STEER_EVERY = 2
"""One sample more or less in every second 10 ms block is 1042 ppm: more than any two clocks differ, and inaudible."""


@dataclass(frozen=True, slots=True)
class PlayoutStats:
    """What a playout buffer has seen; times in milliseconds, the rest are counts since the start."""

    level_ms: float
    target_ms: float
    received: int
    late: int
    duplicates: int
    overflow: int
    concealed: int
    underruns: int
    skips: int
    restarts: int


class PlayoutBuffer:
    """push() decoded packets as they come, pull() blocks as the speaker needs them; both cheap, neither ever waits."""

    def __init__(self) -> None:
        self._packets: dict[int, Pcm] = {}
        self._last_pts: int | None = None
        """The timestamp pushed last, unwrapped: it counts on where the 32 bits of RTP start over."""
        self._next: int | None = None
        """The timestamp to be played next; None while the buffer fills."""
        self._first_push = 0.0
        self._end = 0
        self._transit: float | None = None
        self._jitter_ms = 0.0
        self._extra_ms = 0.0
        self._eased_at: float | None = None
        self._error = 0.0
        self._pulls = 0
        self._tail = silence(0)
        """What was played last, to fade out from."""
        self._fade_in = True
        self._received = self._late = self._duplicates = self._overflow = 0
        self._concealed = self._underruns = self._skips = self._restarts = 0

    @property
    def target(self) -> int:
        """How much to hold, from how unsteadily packets came so far."""
        wanted = MIN_TARGET_MS + TARGET_PER_JITTER * self._jitter_ms + self._extra_ms
        floor = START_TARGET_MS if self._received < TRUSTED_PACKETS else MIN_TARGET_MS
        return int(min(MAX_TARGET_MS, max(floor, wanted)) * MS)

    @property
    def level(self) -> int:
        """How much is held ahead of what is played next."""
        if not self._packets:
            return 0
        return self._end - (self._next if self._next is not None else min(self._packets))

    def stats(self) -> PlayoutStats:
        """All counters, and the level now."""
        return PlayoutStats(
            self.level / MS, self.target / MS, self._received, self._late, self._duplicates, self._overflow,
            self._concealed, self._underruns, self._skips, self._restarts,
        )  # fmt: skip

    def push(self, pts: int, pcm: Pcm, now: float) -> None:
        """A packet that starts at sample `pts` (any origin; RTP's 32 bits may wrap), received at `now` seconds."""
        self._received += 1
        pts = self._unwrap(pts)
        self._measure(pts, now)
        if not self._packets:
            self._first_push = now
        if self._next is not None and pts + len(pcm) <= self._next:
            self._late += 1
            return
        if pts in self._packets:
            self._duplicates += 1
            return
        self._packets[pts] = pcm
        end = pts + len(pcm)
        self._end = end if len(self._packets) == 1 else max(self._end, end)
        if len(self._packets) > MAX_PACKETS:
            del self._packets[min(self._packets)]
            self._overflow += 1

    def pull(self, frames: int, now: float) -> Pcm:
        """The next `frames` samples to play: sound, a fade where something is missing, or silence."""
        self._ease(now)
        if self._next is None and not self._primed(now):
            return self._faded_out(frames)
        if self._next is None:
            self._next = min(self._packets)
        if self.level > self.target + LIVE_MS * MS:
            return self._skip(frames)
        taken = frames + self._steer(frames)
        if self.level < taken:
            return self._underrun(frames)
        block = self._take(taken)
        if taken != frames:
            block = saturate(np.interp(np.linspace(0, taken - 1, frames), np.arange(taken), block))
        return self._played(block)

    def _unwrap(self, pts: int) -> int:
        last = self._last_pts
        if last is None:
            self._last_pts = pts
            return pts
        step = (pts - last + 2**31) % 2**32 - 2**31
        if abs(step) > JUMP:
            self._restart()
        self._last_pts = last + step
        return self._last_pts

    def _restart(self) -> None:
        self._restarts += 1
        self._packets.clear()
        self._next = None
        self._transit = None

    def _measure(self, pts: int, now: float) -> None:
        """Mean deviation of the packets' transit time (RFC 3550 section 6.4.1)."""
        transit = now * 1000.0 - pts / MS
        if self._transit is not None:
            self._jitter_ms += (abs(transit - self._transit) - self._jitter_ms) / 16.0
        self._transit = transit

    def _primed(self, now: float) -> bool:
        if not self._packets:
            return False
        return self.level >= self.target or (now - self._first_push) * RATE >= self.target

    def _ease(self, now: float) -> None:
        if self._eased_at is not None:
            self._extra_ms = max(0.0, self._extra_ms - EASE_MS_PER_S * (now - self._eased_at))
        self._eased_at = now

    def _steer(self, frames: int) -> int:
        """One sample more or less where the level has long been off its target."""
        self._error += (self.level - self.target - self._error) * frames / (SMOOTH_S * RATE)
        self._pulls += 1
        if self._pulls % STEER_EVERY or abs(self._error) < DEADBAND:
            return 0
        return 1 if self._error > 0 else -1

    def _take(self, frames: int) -> Pcm:
        """Cuts the next `frames` samples out of the packets; a gap is faded over."""
        assert self._next is not None
        start, stop = self._next, self._next + frames
        block = silence(frames)
        known = np.zeros(frames, bool)
        for pts in sorted(p for p in self._packets if p < stop):
            pcm = self._packets[pts]
            low, high = max(pts, start), min(pts + len(pcm), stop)
            block[low - start : high - start] = pcm[low - pts : high - pts]
            known[low - start : high - start] = True
            if pts + len(pcm) <= stop:
                del self._packets[pts]
        self._next = stop
        return self._risen(block) if known.all() else self._conceal(block, known)

    def _conceal(self, block: Pcm, known: npt.NDArray[np.bool_]) -> Pcm:
        """Fades out where a gap begins, and in where it ends."""
        self._concealed += int(np.count_nonzero(~known))
        edges = np.flatnonzero(np.diff(known)) + 1
        parts = np.split(block, edges)
        missing = np.split(~known, edges)
        done: list[Pcm] = []
        for part, gone in zip(parts, missing, strict=True):
            if gone[0]:
                before = np.concatenate((self._tail, *done))
                done.append(_fade_from(before, len(part)) if not self._fade_in else part)
                self._fade_in = True
            else:
                done.append(self._risen(part))
        return np.concatenate(done)

    def _underrun(self, frames: int) -> Pcm:
        """Plays what is left with a fade, then fills up again, holding a little more than before."""
        self._underruns += 1
        self._extra_ms = min(self._extra_ms + UNDERRUN_STEP_MS, float(MAX_TARGET_MS))
        left = self._take(self.level) if self.level > 0 else silence(0)
        self._next = None
        self._error = 0.0
        rest = _fade_from(np.concatenate((self._tail, left)), frames - len(left))
        self._tail = silence(0)
        self._fade_in = True
        return np.concatenate((left, rest))

    def _skip(self, frames: int) -> Pcm:
        """Jumps to the target's distance from live, fading from what would have come to what comes instead."""
        self._skips += 1
        self._error = 0.0
        old = self._take(FADE)
        self._next = self._end - self.target
        for pts in [p for p, pcm in self._packets.items() if p + len(pcm) <= self._next]:
            del self._packets[pts]
        new = self._take(frames).astype(np.float64)
        rise = np.linspace(0.0, 1.0, min(FADE, frames))
        new[: len(rise)] = new[: len(rise)] * rise + old[: len(rise)] * (1.0 - rise)
        return self._played(saturate(new))

    def _faded_out(self, frames: int) -> Pcm:
        """Silence, after the last of what was played has died away."""
        block = _fade_from(self._tail, frames)
        self._tail = silence(0)
        self._fade_in = True
        return block

    def _played(self, block: Pcm) -> Pcm:
        self._tail = block[-FADE:]
        return block

    def _risen(self, block: Pcm) -> Pcm:
        """The block, faded in when there was silence before it."""
        if not self._fade_in or len(block) == 0:
            return block
        self._fade_in = False
        rise = np.ones(len(block))
        rise[:FADE] = np.linspace(0.0, 1.0, FADE)[: len(block)]
        return saturate(block * rise)


def _fade_from(before: Pcm, frames: int) -> Pcm:
    """The mirror of what was played last, dying away: no step in it, no echo after it."""
    block = np.zeros(frames)
    mirror = before[::-1][: min(FADE, frames)]
    block[: len(mirror)] = mirror * np.linspace(1.0, 0.0, FADE)[: len(mirror)]
    return saturate(block)
