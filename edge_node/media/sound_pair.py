"""A microphone and a speaker that share one stream, so one clock, whenever the sound card allows it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from edge_node.aio.tasks import TaskGroup, cancel_and_wait
from edge_node.dsp.pcm import Pcm
from edge_node.errors import DeviceMissing, RetryLater
from edge_node.media.sound_stream import Health, Pull, SoundStream
from edge_node.media.soundcard import WORKER, Direction, Opened

log = logging.getLogger(__name__)

Sink = Callable[[Pcm], None]
SETTLE_S = 0.03
"""Both halves are usually asked for within this time, and each opening takes a process."""
REJOIN_S = 5.0
"""After a refusal both together are tried again so much later, then after twice as long each time: it is heard."""
MAX_REJOIN_S = 3600.0
HELD_UP_S = 0.5
"""What a busy machine does to a thread is shorter than this, usually."""


class Echo(Protocol):
    """What keeps the speaker's sound out of the microphone's; called from the streams' threads."""

    def opened(self, latency_ms: float | None) -> None: ...

    def together(self, captured: Pcm, played: Pcm) -> Pcm: ...

    def captured(self, captured: Pcm) -> Pcm: ...

    def played(self, played: Pcm) -> None: ...

    def to_play(self, block: Pcm) -> Pcm: ...


class SoundPair:
    """Opens one duplex stream while both halves run, and one stream for each where that is refused.

    Whoever stops running `microphone` closes the card's capture side with it: the card is opened anew for playing only.
    """

    def __init__(
        self,
        microphone: str = "default",
        speaker: str = "default",
        *,
        echo: Echo | None = None,
        tap: Sink | None = None,
        worker: Sequence[str] = WORKER,
    ) -> None:
        """`tap` gets each block as it is played, silence included, from the stream's thread; it must not wait.

        Whoever does keep the thread waiting is named once, and counted (`held_up`).
        """
        self._names = {"input": (microphone,), "output": (speaker,), "duplex": (microphone, speaker)}
        self._echo = echo
        self._tap = tap
        self._worker = worker
        self._health: dict[Direction, Health] = {"input": Health(), "output": Health(), "duplex": Health()}
        self._halves: dict[Direction, _Half] = {}
        """Those that run now: "input", "output"."""
        self._streams: dict[Direction, asyncio.Task[None]] = {}
        self._opened: dict[Direction, SoundStream] = {}
        self._alive: set[Direction] = set()
        """Streams that have delivered."""
        self._apart = False
        self._joinable = False
        """Whether another try to open both together makes sense: something has come or gone since the last."""
        self._rejoin_s = REJOIN_S
        self._rejoin: asyncio.TimerHandle | None = None
        self.held_up = 0
        """Calls from the streams' threads that took longer than HELD_UP_S."""
        self._turn = asyncio.Lock()
        self._tasks = TaskGroup("sound")
        self.microphone = PairMicrophone(self, microphone)
        self.speaker = PairSpeaker(self, speaker)

    @property
    def together(self) -> bool:
        """Whether both run on one stream now."""
        return "duplex" in self._alive

    def flush(self) -> None:
        """What was pulled for the speaker and is not in the card's own buffers yet is not played."""
        for stream in self._opened.values():
            stream.flush()

    def health(self, *directions: Direction) -> list[Health]:
        return [self._health[direction] for direction in directions]

    async def run_half(self, direction: Direction, half: _Half) -> None:
        """Keeps a half running until it fails or is cancelled."""
        if direction in self._halves:
            raise RuntimeError(f"the {direction} of this sound card is in use already")
        self._halves[direction] = half
        try:
            await self._arrange()
            await half.failed
        finally:
            del self._halves[direction]
            await self._arrange()

    async def _arrange(self) -> None:
        """Ends the streams that are not wanted any more, then starts those that are."""
        async with self._turn:
            wanted = self._wanted()
            for direction in [d for d in self._streams if d not in wanted]:
                self._alive.discard(direction)
                await cancel_and_wait(self._streams.pop(direction))
            for direction in wanted:
                if direction not in self._streams:
                    self._streams[direction] = self._tasks.spawn(self._keep(direction), direction)

    def _wanted(self) -> set[Direction]:
        if len(self._halves) < 2:
            self._apart &= bool(self._halves)
            if not self._apart and self._rejoin is not None:
                self._rejoin.cancel()
        if len(self._halves) == 2 and not self._apart:
            return {"duplex"}
        return set(self._halves)

    async def _keep(self, direction: Direction) -> None:
        await asyncio.sleep(SETTLE_S)
        stream = SoundStream(direction, *self._names[direction], health=self._health[direction], worker=self._worker)
        heard = _Router(self, direction, self._halves.get("input"), asyncio.get_running_loop())
        output = self._halves.get("output")
        self._opened[direction] = stream
        try:
            await stream.run(
                heard,
                _no_pull if output is None else output.pull if self._echo is None else self._softened(output.pull),
                lambda opened: self.opened(direction, opened),
            )
        except (DeviceMissing, RetryLater) as err:
            self._ended(direction, err)
        except Exception as err:  # a bug in a sink: its owner is told
            self._fail(err, *(("input", "output") if direction == "duplex" else (direction,)))
        finally:
            if self._opened.get(direction) is stream:
                del self._opened[direction]

    def _softened(self, pull: Pull) -> Pull:
        echo = self._echo
        assert echo is not None
        return lambda frames: echo.to_play(pull(frames))

    def _ended(self, direction: Direction, err: Exception) -> None:
        was_alive = direction in self._alive
        self._alive.discard(direction)
        self._streams.pop(direction, None)
        if direction != "duplex":
            self._joinable = True
            self._fail(err, direction)
        elif was_alive:
            self._fail(err, "input", "output")
        else:
            log.info("no common stream for microphone and speaker (%s): each gets one of its own", err)
            self._apart, self._joinable = True, False
            self._rejoin = asyncio.get_running_loop().call_later(self._rejoin_s, self._try_again)
            self._rejoin_s = min(2.0 * self._rejoin_s, MAX_REJOIN_S)
            self._tasks.spawn(self._arrange(), "apart")

    def _try_again(self) -> None:
        self._joinable = True
        self._join()

    def _join(self) -> None:
        """Tries both together again, as soon as both work by themselves."""
        if self._joinable and self._apart and self._alive == {"input", "output"}:
            self._apart = False
            self._tasks.spawn(self._arrange(), "join")

    def _fail(self, err: Exception, *directions: Direction) -> None:
        for direction in directions:
            half = self._halves.get(direction)
            if half is not None and not half.failed.done():
                half.failed.set_exception(err)

    def first_block(self, direction: Direction) -> None:
        """A stream delivers; on the event loop."""
        if direction not in self._streams:
            return
        self._alive.add(direction)
        if direction == "duplex":
            self._rejoin_s = REJOIN_S
        else:
            self._join()

    def route(self, direction: Direction, sink: Sink | None, captured: Pcm | None, played: Pcm | None) -> None:
        """Takes a stream's pair of blocks where they belong; from the stream's thread."""
        if played is not None and self._tap is not None:
            with self._watched("the playback tap"):
                self._tap(played)
        if self._echo is not None and captured is not None:
            captured = self._echo.captured(captured) if played is None else self._echo.together(captured, played)
        elif self._echo is not None and played is not None:
            self._echo.played(played)
        if captured is not None and sink is not None:
            with self._watched("whoever gets the microphone's sound"):
                sink(captured)

    @contextmanager
    def _watched(self, who: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        took_s = time.monotonic() - began
        if took_s > HELD_UP_S:
            if not self.held_up:
                log.error("%s held the sound up for %.1f s: it must not wait; sound is lost meanwhile", who, took_s)
            self.held_up += 1

    def opened(self, direction: Direction, opened: Opened) -> None:
        """A stream begins, or begins anew with a larger buffer; from its thread."""
        if self._echo is not None and direction != "output":
            self._echo.opened(opened.input_ms + opened.output_ms if direction == "duplex" else None)


class _Half:
    """One direction that somebody runs."""

    def __init__(self, sink: Sink | None = None, pull: Pull | None = None) -> None:
        self.sink = sink
        self.pull = pull if pull is not None else _no_pull
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class _Router:
    """A stream's `heard`, which tells the event loop of the first block."""

    def __init__(
        self, pair: SoundPair, direction: Direction, half: _Half | None, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._pair = pair
        self._direction: Direction = direction
        self._sink = None if half is None else half.sink
        self._loop = loop
        self._begun = False

    def __call__(self, captured: Pcm | None, played: Pcm | None) -> None:
        if not self._begun:
            self._begun = True
            self._loop.call_soon_threadsafe(self._pair.first_block, self._direction)
        self._pair.route(self._direction, self._sink, captured, played)


class PairMicrophone:
    """ports.AudioSource: the microphone's half of a pair."""

    def __init__(self, pair: SoundPair, label: str) -> None:
        self._pair = pair
        self.label = label

    @property
    def xruns(self) -> int:
        """How often the card lost sound because nobody fetched it in time."""
        return sum(health.xruns for health in self._pair.health("input", "duplex"))

    @property
    def latency_ms(self) -> float | None:
        """Delay of the card's buffers; None while it is closed."""
        return next((h.input_ms for h in self._pair.health("duplex", "input") if h.opened is not None), None)

    async def run(self, sink: Sink) -> None:
        """Delivers until cancelled. Raises DeviceLost or DeviceMissing."""
        await self._pair.run_half("input", _Half(sink=sink))


class PairSpeaker:
    """ports.AudioSink: the speaker's half of a pair."""

    def __init__(self, pair: SoundPair, label: str) -> None:
        self._pair = pair
        self.label = label

    @property
    def xruns(self) -> int:
        """How often the card had nothing to play in time; those of a common stream are the microphone's."""
        own, common = self._pair.health("output", "duplex")
        return own.xruns + own.late + common.late

    @property
    def latency_ms(self) -> float | None:
        """Delay from pull() to the ear; None while the card is closed."""
        return next((h.output_ms for h in self._pair.health("duplex", "output") if h.opened is not None), None)

    async def run(self, pull: Pull) -> None:
        """Plays until cancelled. Raises DeviceLost or DeviceMissing."""
        await self._pair.run_half("output", _Half(pull=pull))


def _no_pull(frames: int) -> Pcm:
    raise AssertionError(f"a stream without a speaker asked for {frames} frames")
