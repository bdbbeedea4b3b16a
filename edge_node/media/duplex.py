"""Microphone and speaker of this machine for programs: bytes in, bytes out, at the program's own sample rate."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Any, Self, TypeVar

from edge_node.aio.tasks import TaskGroup
from edge_node.errors import DeviceMissing, RetryLater
from edge_node.media.echo.control import EchoControl, Mode
from edge_node.media.sound_pair import SoundPair
from edge_node.media.sound_queues import Chunks, Fed, Tap, Tapped
from edge_node.media.soundcard import WORKER

log = logging.getLogger(__name__)

RETRY_S = 1.0
Run = Callable[[Callable[[], object]], Coroutine[Any, Any, None]]
"""run(up) calls up() with its first block."""
Arg = TypeVar("Arg")
Result = TypeVar("Result")


class MicrophoneView:
    """Chunks of 16-bit mono PCM; when the program is slower than the microphone, the oldest go, and are counted."""

    def __init__(self, chunks: Chunks) -> None:
        self._chunks = chunks

    @property
    def dropped(self) -> int:
        """Chunks given up because nobody fetched them in time."""
        return self._chunks.dropped

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def __anext__(self) -> bytes:
        return await self._chunks.__anext__()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Who opened the device closes it."""


class SpeakerView:
    """Plays 16-bit mono PCM, silence between."""

    def __init__(self, fed: Fed, pair: SoundPair) -> None:
        self._fed = fed
        self._pair = pair

    @property
    def buffered_seconds(self) -> float:
        """Sound that waits to be played."""
        return self._fed.buffered_seconds

    @property
    def dropped_seconds(self) -> float:
        """Sound given up because far more was fed than played, or because the device was away."""
        return self._fed.dropped_seconds

    def feed(self, data: bytes) -> Awaitable[None]:
        """Appends sound, cut anywhere. Returns at once; to await the result is allowed and does nothing."""
        self._fed.feed(data)
        return _Nothing()

    def stop(self) -> None:
        """Silence, at once: only what the card's own buffers hold is still heard. On the event loop."""
        self._fed.clear()
        self._pair.flush()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Who opened the device closes it."""


class Microphone(MicrophoneView):
    """`async with Microphone() as mic: async for chunk in mic:` chunks of chunk_ms.

    A device that is lost is used again as soon as it returns; the chunks pause meanwhile.
    """

    def __init__(
        self,
        sample_rate: int = 24_000,
        chunk_ms: int = 50,
        device: str | None = None,
        queue_maxsize: int = 100,
        *,
        worker: Sequence[str] = WORKER,
    ) -> None:
        """`device`: PortAudio's name for it, or a part of that; None is the system's. Raises ValueError."""
        super().__init__(Chunks(sample_rate, chunk_ms, queue_maxsize))
        self._pair = SoundPair(device or "default", worker=worker)
        self._kept = _Kept()

    @property
    def xruns(self) -> int:
        """How often the device itself lost sound."""
        return self._pair.microphone.xruns

    async def __aenter__(self) -> Self:
        """Waits for the first sound. Raises DeviceMissing or DeviceLost."""
        self._chunks.opens()
        await self._kept.start(lambda up: self._pair.microphone.run(_First(up).before(self._chunks.put)))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._kept.close()
        self._chunks.close()


class Speaker(SpeakerView):
    """`async with Speaker() as speaker: await speaker.feed(pcm)`, with or without the `await`.

    More than a minute that is not played yet loses its oldest part, and so does what would have been played while the
    device was away: it is live again when it returns. Both are counted.
    """

    def __init__(
        self,
        sample_rate: int = 24_000,
        device: str | None = None,
        playback_tap: Tap | None = None,
        *,
        worker: Sequence[str] = WORKER,
    ) -> None:
        """`playback_tap(bytes)` gets all that the device plays, silence included, at sample_rate, 10 ms at a time.

        It has a thread of its own: the sound waits for nobody. One that is more than a second late loses the oldest.
        Raises ValueError for a sample_rate that is none.
        """
        self._tap = None if playback_tap is None else Tapped(playback_tap, sample_rate)
        super().__init__(Fed(sample_rate), SoundPair(speaker=device or "default", tap=self._tap, worker=worker))
        self._kept = _Kept()

    @property
    def xruns(self) -> int:
        """How often the device had nothing to play in time."""
        return self._pair.speaker.xruns

    @property
    def tap_dropped(self) -> int:
        """Blocks that the playback tap was too slow for."""
        return 0 if self._tap is None else self._tap.dropped

    async def __aenter__(self) -> Self:
        """Waits until the device plays. Raises DeviceMissing or DeviceLost."""
        await self._kept.start(lambda up: self._pair.speaker.run(_First(up).before(self._fed.pull)))
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._kept.close()
        if self._tap is not None:
            await self._tap.close()
        self._fed.close()


class DuplexAudio:
    """Microphone and speaker on one stream, so on one clock: two clocks drift apart, which ruins echo cancelling.

    Where the devices refuse a common stream each gets one of its own; `together` tells.
    """

    def __init__(
        self,
        sample_rate: int = 48_000,
        chunk_ms: int = 20,
        device: str | tuple[str, str] | None = None,
        mono_io: bool = True,
        queue_maxsize: int = 100,
        playback_tap: Tap | None = None,
        *,
        echo_cancel: Mode = "off",
        worker: Sequence[str] = WORKER,
    ) -> None:
        """`device`: one name for both, or (microphone, speaker); None is the system's. `echo_cancel`: see EchoControl.

        `playback_tap` as for Speaker. Raises ValueError for what cannot be, as two channels, and SettingsError
        as EchoControl does.
        """
        if not mono_io:
            raise ValueError("mono_io must be True: voices are mono here, and so are echo cancellers")
        names = device if isinstance(device, tuple) else (device or "default", device or "default")
        self._echo = EchoControl(echo_cancel)
        self._tap = None if playback_tap is None else Tapped(playback_tap, sample_rate)
        self._pair = SoundPair(*names, echo=self._echo, tap=self._tap, worker=worker)
        self._chunks = Chunks(sample_rate, chunk_ms, queue_maxsize)
        self._fed = Fed(sample_rate)
        self._kept = (_Kept(), _Kept())
        self.mic = MicrophoneView(self._chunks)
        self.speaker = SpeakerView(self._fed, self._pair)

    @property
    def together(self) -> bool:
        """Whether both run on one stream."""
        return self._pair.together

    @property
    def echo(self) -> str:
        """What keeps the echo away now: `livekit`, `speexdsp`, `half-duplex` or `off`."""
        return self._echo.label

    @property
    def echo_return_loss_db(self) -> float | None:
        """By how much the echo is turned down, measured; None before anything came back."""
        return self._echo.return_loss_db

    @property
    def xruns(self) -> int:
        """How often sound was lost at either device."""
        return self._pair.microphone.xruns + self._pair.speaker.xruns

    @property
    def tap_dropped(self) -> int:
        """As Speaker.tap_dropped."""
        return 0 if self._tap is None else self._tap.dropped

    def mic_chunks(self) -> AsyncIterator[bytes]:
        """Chunks of chunk_ms from the microphone, the oldest dropped when nobody fetches them."""
        return self._chunks

    def feed_speaker(self, data: bytes) -> Awaitable[None]:
        """As Speaker.feed()."""
        return self.speaker.feed(data)

    def stop(self) -> None:
        """As Speaker.stop()."""
        self.speaker.stop()

    async def __aenter__(self) -> Self:
        """Waits until both work. Raises DeviceMissing or DeviceLost."""
        self._chunks.opens()
        starts = (
            self._kept[0].start(lambda up: self._pair.speaker.run(_First(up).before(self._fed.pull))),
            self._kept[1].start(lambda up: self._pair.microphone.run(_First(up).before(self._chunks.put))),
        )
        try:
            await asyncio.gather(*starts)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._close()
        self._fed.close()

    async def _close(self) -> None:
        for kept in self._kept:
            await kept.close()
        if self._tap is not None:
            await self._tap.close()
        self._chunks.close()


class _Nothing:
    """Has been done already."""

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


class _Kept:
    """A device that is opened again whenever it is lost."""

    def __init__(self) -> None:
        self._tasks = TaskGroup("audio")
        self._first: asyncio.Future[None] | None = None
        self._told = ""

    async def start(self, run: Run) -> None:
        """Returns with the first block. Raises what made the first opening fail."""
        loop = asyncio.get_running_loop()
        first: asyncio.Future[None] = loop.create_future()
        self._first = first

        def begun() -> None:
            self._told = ""
            if not first.done():
                first.set_result(None)

        self._tasks.spawn(self._keep(run, lambda: loop.call_soon_threadsafe(begun), first), "device")
        try:
            await first
        except BaseException:
            await self.close()
            raise

    async def _keep(self, run: Run, up: Callable[[], object], first: asyncio.Future[None]) -> None:
        while True:
            try:
                await run(up)
            except Exception as err:  # a bug, too, ends neither the wait for the first block nor the next attempts
                if not first.done():
                    first.set_exception(err)
                    return
                self._tell(err)
            await asyncio.sleep(RETRY_S)

    def _tell(self, err: Exception) -> None:
        """Once each time the device is lost, not every RETRY_S while it is away."""
        if self._told != str(err):
            self._told = str(err)
            expected = isinstance(err, RetryLater | DeviceMissing)
            log.log(logging.WARNING if expected else logging.ERROR, "%s", err, exc_info=None if expected else err)

    async def close(self) -> None:
        if self._first is not None:
            self._first.cancel()
        await self._tasks.close()


class _First:
    """Passes calls on, after telling of the first one."""

    def __init__(self, up: Callable[[], object]) -> None:
        self._up = up
        self._told = False

    def before(self, call: Callable[[Arg], Result]) -> Callable[[Arg], Result]:
        def told(argument: Arg) -> Result:
            if not self._told:
                self._told = True
                self._up()
            return call(argument)

        return told
