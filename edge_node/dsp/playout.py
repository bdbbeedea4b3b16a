"""The buffer between a network that delivers when it likes and a speaker that needs a block every 10 ms.

Packets are placed by their timestamp, so order and gaps do not matter; `now` only measures how unsteady they come.
Distances in time are in samples at RATE unless the name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge_node.dsp.concealment import FADE, MS, Concealer
from edge_node.dsp.delay_target import DelayTarget
from edge_node.dsp.pcm import RATE, Pcm, saturate, silence
from edge_node.dsp.speed import SpeedControl

LIVE = 200 * MS
"""More than this above the target is thrown away at once."""
BEHIND = 35 * MS
BEHIND_FOR_S = 1.0
"""So much above the target is thrown away, too, after a second in which it was never half of that: a delay that came
must go, and a machine that is held up now and then must not hide it."""
SHORT = 25 * MS
"""A gap is used to hold more when the level is so far below its target."""
THIN = 30 * MS
THIN_FOR = 8
STRETCH_EVERY = 4
"""So far below the target for 8 blocks in a row, the sound is stretched by about every fourth: a gap would be heard."""
DUE = 30 * MS
SPARE = 10 * MS
"""On an unsteady network packets are late rather than lost: what is DUE gets some time more."""
MEND = 5 * MS
"""In a quiet moment no smaller error than this is mended."""
QUIET = 160
"""-46 dBFS: a block this quiet may be left out, or played twice, unheard."""
MAX_PACKETS = 100
"""2 s of 20 ms packets; overflow rule: the oldest goes."""
JUMP = 2 * RATE
"""A timestamp this far from the last one starts a new timeline (a sender that restarted)."""
LATE_IN_A_ROW = 25
"""So many late packets in a row (0.5 s) are no late packets: the timestamps have jumped back."""
STANDING = 5
"""So many packets in a row with one timestamp: the sender does not count, and its packets are taken as they come."""


@dataclass(frozen=True, slots=True)
class PlayoutStats:
    """What a playout buffer has seen; times in milliseconds, speed in ppm, the rest are counts since the start."""

    level_ms: float
    target_ms: float
    speed_ppm: float
    received: int
    late: int
    duplicates: int
    overflow: int
    concealed: int
    gaps: int
    underruns: int
    stretches: int
    skips: int
    restarts: int


class PlayoutBuffer:
    """push() decoded packets as they come, pull() blocks as the speaker needs them; both cheap, neither ever waits."""

    def __init__(self) -> None:
        self._packets: dict[int, Pcm] = {}
        self._last_pts: int | None = None
        """The timestamp pushed last, unwrapped: it counts on where the 32 bits of RTP start over."""
        self._still = 0
        self._late_run = 0
        self._next: int | None = None
        """The timestamp to be played next; None before the first."""
        self._end = 0
        self._waits_since: float | None = None
        """While the buffer fills: when the first packet of what it holds came."""
        self._filling = True
        self._dry_at: float | None = None
        """When there was nothing to play any more, until the next packet tells why."""
        self._pulled_at = 0.0
        self._pulled_frames = 0
        self._steady: int | None = None
        """How long the last sample of the newest packet had to wait yet when it came: the level without its saw."""
        self._half = 0
        """Of the newest packet: so far the level is below its target halfway between two of them."""
        self._behind_since: float | None = None
        """Since when far more than the target is held, without a pause."""
        self._pending = silence(0)
        """Goes out before all else: a quiet block once more, or the last cycle of a voice."""
        self._thin = 0
        """Blocks in a row in which far too little was held."""
        self._whole = True
        """The sample played last was not concealed."""
        self._delay = DelayTarget()
        self._speed = SpeedControl()
        self._concealer = Concealer()
        self._received = self._late = self._duplicates = self._overflow = 0
        self._concealed = self._gaps = self._underruns = self._stretches = self._skips = self._restarts = 0

    @property
    def target(self) -> int:
        """How much to hold, from how unsteadily packets came so far."""
        return self._delay.samples

    @property
    def level(self) -> int:
        """How much is held ahead of what is played next."""
        return self._end - self._first() if self._packets else 0

    @property
    def playing(self) -> int | None:
        """The timestamp that is played next; None while the buffer fills."""
        return None if self._filling else self._next

    @property
    def gaps(self) -> int:
        """How often the sound was broken off."""
        return self._gaps

    def stats(self) -> PlayoutStats:
        """All counters, and the level now."""
        return PlayoutStats(
            self.level / MS, self._delay.ms, self._speed.ppm, self._received, self._late, self._duplicates,
            self._overflow, self._concealed, self._gaps, self._underruns, self._stretches, self._skips, self._restarts,
        )  # fmt: skip

    def push(self, pts: int, pcm: Pcm, now: float) -> None:
        """A packet that starts at sample `pts` (any origin; RTP's 32 bits may wrap), received at `now` seconds."""
        self._received += 1
        if len(pcm) == 0:
            return
        pts = self._unwrap(pts)
        self._delay.measure(pts, now, len(pcm))
        self._half = len(pcm) // 2
        if self._is_late(pts, pcm):
            return
        self._tell_why_dry(pts, now)
        if pts in self._packets:
            self._duplicates += 1
            return
        if not self._packets:
            self._waits_since = now
            self._end = pts
        self._packets[pts] = pcm
        self._end = max(self._end, pts + len(pcm))
        if self._next is not None and not self._filling:
            since_pull = min(len(pcm), int(max(0.0, now - self._pulled_at) * RATE))
            self._steady = pts + len(pcm) - self._next + self._pulled_frames - since_pull
        if len(self._packets) > MAX_PACKETS:
            del self._packets[min(self._packets)]
            self._overflow += 1

    def pull(self, frames: int, now: float) -> Pcm:
        """The next `frames` samples to play: sound, its continuation where something is missing, or silence."""
        self._delay.ease(now)
        self._pulled_at, self._pulled_frames = now, frames
        first, self._pending = self._pending[:frames], self._pending[frames:]
        if len(first) == frames:
            return first
        block = self._pulled(frames - len(first), now)
        return np.concatenate((first, block)) if len(first) else block

    def _pulled(self, frames: int, now: float) -> Pcm:
        if self._filling and not self._filled(now):
            return self._concealer.missing(frames)
        over = self.level + self._half - self.target  # 0 halfway between two packets
        if self._too_late(over, now):
            return self._skip(frames)
        steady = self.level + frames if self._steady is None else self._steady
        taken = frames + self._speed.step(steady - self.target, frames)
        if self.level < taken or (over < -SHORT and self._ahead(taken) < taken):
            return self._dry(frames, now)
        block = self._take(taken)
        if taken != frames:
            block = saturate(np.interp(np.linspace(0, taken - 1, frames), np.arange(taken), block))
        self._use_quiet(block)
        self._stretch(over, frames)
        return block

    # What comes in

    def _unwrap(self, pts: int) -> int:
        last = self._last_pts
        if last is None:
            self._last_pts = pts
            return pts
        step = (pts - last + 2**31) % 2**32 - 2**31
        if abs(step) > JUMP:
            self._restart()
        self._still = self._still + 1 if step == 0 else 0
        self._last_pts = last + step
        return self._last_pts if self._still < STANDING else max(self._end, self._next or 0)

    def _restart(self) -> None:
        self._restarts += 1
        self._packets.clear()
        self._next = self._dry_at = None
        self._filling = True
        self._late_run = 0
        self._delay.restart()

    def _is_late(self, pts: int, pcm: Pcm) -> bool:
        if self._next is None or pts + len(pcm) > self._next:
            self._late_run = 0
            return False
        self._late += 1
        self._late_run += 1
        if self._late_run > LATE_IN_A_ROW:
            self._restart()
            return False
        self._delay.late((self._next - pts) / MS)
        return True

    def _tell_why_dry(self, pts: int, now: float) -> None:
        """The first packet after an underrun: it was late, or its sender had been silent."""
        if self._dry_at is None or self._next is None:
            return
        late = (now - self._dry_at) * RATE - (pts - self._next)
        self._dry_at = None
        if late > 0:
            self._underruns += 1
            self._delay.late(late / MS)

    # What goes out

    def _first(self) -> int:
        """Where the sound that is held begins."""
        if not self._filling and self._next is not None:
            return self._next
        oldest = min(self._packets)
        return oldest if self._next is None else max(oldest, self._next)

    def _filled(self, now: float) -> bool:
        if not self._packets or self._waits_since is None:
            return False
        if self.level < self.target and (now - self._waits_since) * RATE < self.target:
            return False
        start = self._first()
        live = self._end - self.target
        if start < live - BEHIND:  # packets that came in a burst
            self._skips += 1
            start = live
            self._forget_before(start)
        self._next = start
        self._filling = False
        self._steady = None
        self._speed.settle()
        return True

    def _ahead(self, frames: int) -> int:
        """How many of the next `frames` samples have come, up to the first that is missing."""
        assert self._next is not None
        at, stop = self._next, self._next + frames
        for pts in sorted(p for p in self._packets if p < stop):
            if pts > at:
                break
            at = max(at, pts + len(self._packets[pts]))
        return min(at, stop) - self._next

    def _too_late(self, over: int, now: float) -> bool:
        if over <= BEHIND // 2:
            self._behind_since = None
            return False
        since = self._behind_since = now if self._behind_since is None else self._behind_since
        return over > LIVE or (over > BEHIND + self._half and now - since >= BEHIND_FOR_S)

    def _take(self, frames: int) -> Pcm:
        """Cuts the next `frames` samples out of the packets; a gap is concealed."""
        assert self._next is not None
        start, stop = self._next, self._next + frames
        block = silence(frames)
        known = np.zeros(frames, bool)
        for pts in sorted(p for p in self._packets if p < stop):
            pcm = self._packets[pts]
            low, high = max(pts, start), min(pts + len(pcm), stop)
            block[low - start : high - start] = pcm[low - pts : high - pts]
            known[low - start : high - start] = True
        self._forget_before(stop)
        self._next = stop
        if known.all():
            self._whole = True
            return self._concealer.sound(block)
        return self._mend(block, known)

    def _mend(self, block: Pcm, known: npt.NDArray[np.bool_]) -> Pcm:
        self._concealed += int(np.count_nonzero(~known))
        edges = np.flatnonzero(np.diff(known)) + 1
        done = []
        for part, there in zip(np.split(block, edges), np.split(known, edges), strict=True):
            if there[0]:
                done.append(self._concealer.sound(part))
            else:
                self._gaps += self._whole
                done.append(self._concealer.missing(len(part)))
            self._whole = bool(there[0])
        return np.concatenate(done)

    def _dry(self, frames: int, now: float) -> Pcm:
        """Plays what is left before the gap, then holds on until there is enough again."""
        ahead = self._ahead(frames)
        left = self._take(ahead) if ahead else silence(0)
        self._gaps += self._whole
        self._whole = False
        self._filling = True
        self._behind_since = None
        self._waits_since = now
        if not self._packets:
            self._dry_at = now
        return np.concatenate((left, self._concealer.missing(frames - len(left))))

    def _skip(self, frames: int) -> Pcm:
        """Jumps to the target's distance from live, fading from what would have come to what comes instead."""
        self._skips += 1
        self._behind_since = None
        self._speed.settle()
        self._steady = None
        old = self._take(min(FADE, frames))
        self._next = max(self._next or 0, self._end - self.target)
        self._forget_before(self._next)
        new = self._take(frames).astype(np.float64)
        rise = np.linspace(0.0, 1.0, len(old))
        new[: len(rise)] = new[: len(rise)] * rise + old * (1.0 - rise)
        return saturate(new)

    def _use_quiet(self, block: Pcm) -> None:
        """Where nothing is to be heard, up to a block more or less corrects the level at once."""
        error = int(self._speed.error)
        if abs(error) < MEND or int(np.max(np.abs(block.astype(np.int32)))) > QUIET:
            return
        shift = min(abs(error), len(block))
        if error < 0:
            self._pending = block[:shift]
            self._shifted(shift)
        else:
            assert self._next is not None
            shift = min(shift, self._end - self._next)
            self._next += shift
            self._forget_before(self._next)
            self._shifted(-shift)

    def _stretch(self, over: int, frames: int) -> None:
        """Plays the last cycle of the voice once more, while too little is held or a packet is due."""
        self._thin = self._thin + 1 if over < -THIN else 0
        thin = self._thin >= THIN_FOR and self._thin % STRETCH_EVERY == 0
        due = self._delay.unsteady and over < SPARE and self._ahead(DUE) < min(DUE, self.level)
        if not (thin or due) or len(self._pending) or not self._whole or self.level < frames:
            return
        self._stretches += 1
        self._pending = self._concealer.prolonged(frames)
        if due:
            self._shifted(len(self._pending))

    def _shifted(self, samples: int) -> None:
        self._speed.shifted(samples)
        self._steady = None  # until the next packet tells

    def _forget_before(self, pts: int) -> None:
        for gone in [p for p, pcm in self._packets.items() if p + len(pcm) <= pts]:
            del self._packets[gone]
