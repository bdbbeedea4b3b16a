"""What a camera of Video4Linux is good for, as cases: `python v4l2_cases.py /dev/video0` runs all of them on vivid.

Needs nothing of the tests, so that it runs wherever edge_node is installed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from edge_node.aio.clock import SystemClock
from edge_node.errors import EdgeNodeError, SourceLost
from edge_node.media.v4l2 import videodev2 as v4l2
from edge_node.media.v4l2.device import Device, KernelDevice
from edge_node.media.v4l2.offers import RAW
from edge_node.media.v4l2_source import V4l2Source
from edge_node.ports import AccessUnit

PATIENCE_S = 60.0
CLOCK = SystemClock()


class Trouble(Protocol):
    """What can go wrong with the camera, on demand."""

    def unplug(self) -> None:
        """It is gone until everybody has let it go."""
        ...

    def break_stream(self) -> None:
        """The driver gives up."""
        ...

    def damage(self) -> None:
        """The next picture carries the error flag."""
        ...

    def refuse_start(self) -> None:
        """The next start of a stream fails."""
        ...


@dataclass(frozen=True)
class Bench:
    """A camera at rest."""

    path: str
    open_device: Callable[[str], Device] = KernelDevice
    size: tuple[int, int] = (320, 180)
    fps: int = 10

    def source(self, *, only: str | None = None) -> V4l2Source:
        """A source; `only`: as if the camera had no other format."""
        return V4l2Source(
            self.path, *self.size, self.fps, CLOCK, stall_s=PATIENCE_S, first_picture_s=PATIENCE_S,
            open_device=lambda path: _Hides(self.open_device(path), only) if only else self.open_device(path),
        )  # fmt: skip

    def formats(self) -> list[str]:
        """What it offers."""
        device = self.open_device(self.path)
        found: list[str] = []
        try:
            with contextlib.suppress(OSError):
                while True:
                    entry = v4l2.FormatDescription(index=len(found), type=v4l2.CAPTURE)
                    device.ioctl(v4l2.ENUM_FMT, entry)
                    found.append(v4l2.named(entry.pixelformat))
        finally:
            device.close()
        return found


class _Hides:
    def __init__(self, device: Device, only: str) -> None:
        self._device = device
        self._only = only
        self.map, self.wait, self.close = device.map, device.wait, device.close

    def ioctl(self, request: int, argument: Any) -> None:
        self._device.ioctl(request, argument)
        if request == v4l2.ENUM_FMT and v4l2.named(argument.pixelformat) != self._only:
            argument.pixelformat = v4l2.fourcc("none")


class _Counts:
    def __init__(self, device: Device) -> None:
        self._device = device
        self.map, self.wait, self.close = device.map, device.wait, device.close
        self.whole = self.damaged = 0

    def ioctl(self, request: int, argument: Any) -> None:
        self._device.ioctl(request, argument)
        if request == v4l2.DQBUF:
            broken = bool(argument.flags & v4l2.BUF_FLAG_ERROR)
            self.damaged += broken
            self.whole += not broken


class Seen:
    """A sink that keeps when pictures were taken, and the last one."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.frame: Any = None

    def picture(self, frame: Any, captured_at: float) -> None:
        self.frame = frame
        self.times.append(captured_at)

    def unit(self, unit: AccessUnit) -> None:
        self.times.append(unit.captured_at)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def filming(source: V4l2Source, count: int = 3) -> AsyncIterator[tuple[Seen, asyncio.Task[None]]]:
    seen = Seen()
    task = asyncio.create_task(source.run(seen))
    try:
        await until(lambda: len(seen.times) >= count or task.done())
        if task.done():
            task.result()
        yield seen, task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def lost(task: asyncio.Task[None]) -> str:
    async with asyncio.timeout(PATIENCE_S):
        try:
            await task
        except SourceLost as err:
            return str(err)
    raise AssertionError("it was not lost")


async def lost_by(fault: Callable[[], None], bench: Bench) -> None:
    """The fault ends a source, which can run again."""
    source = bench.source()
    async with filming(source) as (_, task):
        fault()
        assert "is gone" in await lost(task)
    async with filming(source):
        pass


# The cases


async def pictures_of_the_wished_size_in_order_of_time(bench: Bench) -> None:
    async with filming(bench.source(), 10) as (seen, _):
        times = list(seen.times)
        assert times == sorted(times)
        assert 0 <= CLOCK.monotonic() - times[-1] < PATIENCE_S
        if seen.frame is not None:
            assert (seen.frame.width, seen.frame.height) == bench.size


async def every_known_raw_format_shows_the_same(bench: Bench) -> None:
    lights = {}
    for fourcc in bench.formats():
        if fourcc in RAW:
            async with filming(bench.source(only=fourcc)) as (seen, _):
                assert seen.frame.format.name == RAW[fourcc]
                lights[fourcc] = float(seen.frame.reformat(format="gray").to_ndarray().mean())
    if lights:
        assert max(lights.values()) - min(lights.values()) < 40, lights


async def a_second_program_is_told_who_has_it(bench: Bench) -> None:
    async with filming(bench.source()):
        assert "in use" in await lost(asyncio.create_task(bench.source().run(Seen())))


async def cancelled_it_ends_soon_and_can_run_again(bench: Bench) -> None:
    source = bench.source()
    before = threading.active_count()
    for _ in range(3):
        async with filming(source):
            pass
        await until(lambda: threading.active_count() <= before)


async def the_loop_is_never_held_up_by_the_driver(bench: Bench) -> None:
    """Only roughly: a machine that is busy holds it up, too."""
    worst = 0.0

    async def watch() -> None:
        nonlocal worst
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            worst = max(worst, time.monotonic() - began)

    watcher = asyncio.create_task(watch())
    for _ in range(2):
        async with filming(bench.source(), 5):
            pass
    watcher.cancel()
    assert worst < PATIENCE_S / 4, worst


async def unplugged_it_is_lost_and_plugged_in_it_runs_again(bench: Bench, trouble: Trouble) -> None:
    await lost_by(trouble.unplug, bench)


async def a_stream_that_breaks_is_lost_and_begins_anew(bench: Bench, trouble: Trouble) -> None:
    await lost_by(trouble.break_stream, bench)


async def damaged_pictures_are_passed_over(bench: Bench, trouble: Trouble) -> None:
    counting: list[_Counts] = []

    def opened(path: str) -> Device:
        counting.append(_Counts(bench.open_device(path)))
        return counting[-1]

    async with filming(replace(bench, open_device=opened).source()) as (seen, task):
        for damaged in range(1, 4):
            trouble.damage()
            await until(lambda damaged=damaged: counting[0].damaged >= damaged)  # type: ignore[misc]
        count = len(seen.times)
        await until(lambda: len(seen.times) >= count + 3)
        assert not task.done()
        assert len(seen.times) <= counting[0].whole


async def a_start_that_fails_is_one_sentence_or_another_format(bench: Bench, trouble: Trouble) -> None:
    trouble.refuse_start()
    try:
        async with filming(bench.source()):
            pass
    except EdgeNodeError as err:
        assert "\n" not in str(err)
    async with filming(bench.source()):
        pass


CASES: tuple[Callable[[Bench], Awaitable[None]], ...] = (
    pictures_of_the_wished_size_in_order_of_time,
    every_known_raw_format_shows_the_same,
    a_second_program_is_told_who_has_it,
    cancelled_it_ends_soon_and_can_run_again,
    the_loop_is_never_held_up_by_the_driver,
)
"""Of any camera."""

TROUBLES: tuple[Callable[[Bench, Trouble], Awaitable[None]], ...] = (
    unplugged_it_is_lost_and_plugged_in_it_runs_again,
    a_stream_that_breaks_is_lost_and_begins_anew,
    damaged_pictures_are_passed_over,
    a_start_that_fails_is_one_sentence_or_another_format,
)
"""Of one that can be made to fail."""


# vivid, the kernel's camera for tests: its controls make things go wrong


class _Control(ctypes.Structure):
    """struct v4l2_control"""

    _fields_ = (("id", ctypes.c_uint32), ("value", ctypes.c_int32))


class _QueryControl(ctypes.Structure):
    """struct v4l2_queryctrl"""

    id: int
    name: bytes
    _fields_ = (
        ("id", ctypes.c_uint32), ("type", ctypes.c_uint32), ("name", ctypes.c_char * 32),
        ("numbers", ctypes.c_int32 * 4), ("flags", ctypes.c_uint32), ("reserved", ctypes.c_uint32 * 2),
    )  # fmt: skip


QUERYCTRL, S_CTRL, NEXT = 0xC0445624, 0xC008561C, 0x80000000


class Vivid:
    """Trouble by the controls of Documentation/admin-guide/media/vivid.rst, found by their names."""

    def __init__(self, path: str) -> None:
        self._path = path

    def unplug(self) -> None:
        self._set("Disconnect", 1)

    def break_stream(self) -> None:
        self._set("Inject Fatal Streaming Error", 1)

    def damage(self) -> None:
        self._set("Inject V4L2_BUF_FLAG_ERROR", 1)

    def refuse_start(self) -> None:
        self._set("Inject VIDIOC_STREAMON Error", 1)

    def _set(self, name: str, value: int) -> None:
        device = KernelDevice(self._path)
        try:
            found = _QueryControl(id=NEXT)
            while True:
                device.ioctl(QUERYCTRL, found)
                if found.name.decode() == name:
                    device.ioctl(S_CTRL, _Control(found.id, value))
                    return
                found.id |= NEXT
        finally:
            device.close()


async def run(bench: Bench, trouble: Trouble) -> None:
    """All of them; the first that fails ends it."""
    for case in CASES:
        await timed(case.__name__, case(bench))
    for case_of_trouble in TROUBLES:
        await timed(case_of_trouble.__name__, case_of_trouble(bench, trouble))


async def timed(name: str, case: Awaitable[None]) -> None:
    began = time.monotonic()
    await case
    print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    asyncio.run(run(Bench(sys.argv[1]), Vivid(sys.argv[1])))
