"""Sound between a program and a sound card's thread: bounded queues that give up their oldest part."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

import numpy as np

from edge_node.dsp.blocks import Blocks
from edge_node.dsp.pcm import Pcm, Resampler, silence
from edge_node.ports import SAMPLE_RATE

log = logging.getLogger(__name__)

BYTES_PER_SAMPLE = 2
MAX_FED_S = 60.0
"""A voice service gives a whole answer at once; more than a minute of it is a mistake."""
AWAY_S = 0.2
"""A card that is so late, in one piece or little by little while there is sound, has been away or was held up."""
RATES = (8_000, 192_000)
Tap = Callable[[bytes], object]
MAX_TAPPED = 100
"""Blocks of 10 ms that wait for a tap."""
TAP_THREAD = "playback tap"
TAP_ENDS_S = 0.5


def checked(rate: int) -> int:
    """A sample rate in Hz. Raises ValueError for one that is none."""
    if not RATES[0] <= rate <= RATES[1]:
        raise ValueError(f"sample_rate is {RATES[0]} to {RATES[1]} Hz, not {rate}")
    return rate


class Chunks:
    """From the sound card's thread to whoever iterates: bounded, the oldest goes first."""

    def __init__(self, rate: int, chunk_ms: int, maxsize: int) -> None:
        """Raises ValueError for what cannot be."""
        if chunk_ms < 1 or maxsize < 1:
            raise ValueError(f"chunk_ms and queue_maxsize are at least 1, not {chunk_ms} and {maxsize}")
        self._resampler = Resampler(SAMPLE_RATE, checked(rate))
        self._blocks = Blocks(rate * chunk_ms // 1000)
        self._waiting: deque[bytes] = deque(maxlen=maxsize)
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.dropped = 0

    def opens(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting.clear()

    def put(self, pcm: Pcm) -> None:
        for chunk in self._blocks.push(self._resampler.push(pcm)):
            self.dropped += len(self._waiting) == self._waiting.maxlen
            self._waiting.append(chunk.tobytes())
            loop = self._loop
            if loop is not None and not loop.is_closed():
                loop.call_soon_threadsafe(self._wake.set)

    def close(self) -> None:
        self._loop = None
        self._wake.set()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        while not self._waiting:
            if self._loop is None:
                raise StopAsyncIteration
            self._wake.clear()
            await self._wake.wait()
        return self._waiting.popleft()


class Fed:
    """From whoever feeds to the sound card's thread: bounded, the oldest goes first.

    While the card is away the sound passes unheard, so that nothing is late when it returns.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises ValueError for a rate that is none."""
        self._rate = checked(rate)
        self._clock = clock
        self._due: float | None = None
        """When the card ought to ask next; None until it asks for the first time."""
        self._resampler = Resampler(rate, SAMPLE_RATE)
        self._carry = b""
        self._pcm: deque[Pcm] = deque()
        self._frames = 0
        self._lock = threading.Lock()
        self.dropped_seconds = 0.0

    @property
    def buffered_seconds(self) -> float:
        return self._frames / SAMPLE_RATE

    def feed(self, data: bytes) -> None:
        raw = self._carry + bytes(data)
        whole = len(raw) // BYTES_PER_SAMPLE * BYTES_PER_SAMPLE
        self._carry = raw[whole:]
        pcm = self._resampler.push(np.frombuffer(raw[:whole], "<i2").astype(np.int16))
        with self._lock:
            self._pass()
            if len(pcm):
                self._pcm.append(pcm)
            self._frames += len(pcm)
            self._take(max(0, self._frames - int(MAX_FED_S * SAMPLE_RATE)), lost=True)

    def clear(self) -> None:
        with self._lock:
            self._pcm.clear()
            self._frames = 0
            self._carry = b""
            self._resampler = Resampler(self._rate, SAMPLE_RATE)

    def close(self) -> None:
        """clear(), and what is fed from now on waits for the card, however long it takes."""
        with self._lock:
            self._due = None
        self.clear()

    def pull(self, frames: int) -> Pcm:
        with self._lock:
            self._pass()
            now, taken = self._clock(), self._take(frames)
            begun = now if self._due is None or not taken else self._due
            self._due = begun + frames / SAMPLE_RATE
        missing = frames - sum(map(len, taken))
        return np.concatenate([*taken, silence(missing)])

    def _pass(self) -> None:
        """What the card would have played since, were it there, is given up."""
        if self._due is None or (away_s := self._clock() - self._due) < AWAY_S:
            return
        self._due += away_s
        self._take(int(away_s * SAMPLE_RATE), lost=True)

    def _take(self, frames: int, lost: bool = False) -> list[Pcm]:
        taken = []
        while frames > 0 and self._pcm:
            head = self._pcm.popleft()
            if len(head) > frames:
                self._pcm.appendleft(head[frames:])
                head = head[:frames]
            taken.append(head)
            frames -= len(head)
            self._frames -= len(head)
            self.dropped_seconds += len(head) / SAMPLE_RATE if lost else 0.0
        return taken


class Tapped:
    """Gives a tap what is played, at its own rate, from a thread of its own: a tap may be slow, hang or raise.

    Bounded: of what waits the oldest goes first.
    """

    def __init__(self, tap: Tap, rate: int) -> None:
        self._tap = tap
        self._resampler = Resampler(SAMPLE_RATE, checked(rate))
        self._waiting: deque[bytes] = deque(maxlen=MAX_TAPPED)
        self._more = threading.Condition()
        self._thread: threading.Thread | None = None
        self.errors = 0
        self.dropped = 0
        """Blocks that the tap was too slow for."""

    async def close(self) -> None:
        """What waits is given to the tap; one that hangs is left behind."""
        thread = self._thread
        with self._more:
            self._thread = None
            self._more.notify()
        if thread is None:
            return
        await asyncio.to_thread(thread.join, TAP_ENDS_S)
        if thread.is_alive():
            log.error("the playback tap does not return: its thread is left behind")

    def __call__(self, pcm: Pcm) -> None:
        """The next block, from the sound card's thread; never waits."""
        block = self._resampler.push(pcm).tobytes()
        with self._more:
            full = len(self._waiting) == MAX_TAPPED
            if full and not self.dropped:
                log.error(
                    "the playback tap is %d blocks of 10 ms late: it loses the oldest, the sound goes on", MAX_TAPPED
                )
            self.dropped += full
            self._waiting.append(block)
            self._more.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=TAP_THREAD, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        me = threading.current_thread()
        while True:
            with self._more:
                self._more.wait_for(lambda: self._waiting or self._thread is not me)
                if not self._waiting:
                    return
                block = self._waiting.popleft()
            try:
                self._tap(block)
            except Exception as err:  # somebody else's code must not end the sound
                if not self.errors:
                    log.error("the playback tap failed, the sound goes on: %s", err, exc_info=err)
                self.errors += 1
