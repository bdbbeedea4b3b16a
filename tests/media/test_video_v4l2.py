"""Video4Linux cameras, with a fake one behind the kernel's requests."""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import threading
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from edge_node.aio.clock import SystemClock
from edge_node.errors import DeviceMissing, EdgeNodeError, SourceLost
from edge_node.media import h264
from edge_node.media.v4l2 import videodev2 as v4l2
from edge_node.media.v4l2.capture import BUFFERS, Layout
from edge_node.media.v4l2.device import KernelDevice
from edge_node.media.v4l2.offers import MOST_ENTRIES, Offer, Wish, nearest, offers, ranked
from edge_node.media.v4l2_source import V4l2Source
from edge_node.ports import VideoSource
from tests.support.fake_v4l2 import FakeCamera, Picture, coded_as
from tests.support.h264 import decoded
from tests.support.video_sink import CollectingSink, running
from tests.support.waiting import eventually

SIZE = (320, 240)
WISH = Wish(1280, 720, 30)


def source(camera: FakeCamera, stall_s: float = 30.0, **more: Any) -> V4l2Source:
    return V4l2Source(
        "/dev/video77", *SIZE, 30, SystemClock(), open_device=camera.device, stall_s=stall_s, first_picture_s=stall_s,
        **more,
    )  # fmt: skip


def one_format(fourcc: str, **more: Any) -> FakeCamera:
    return FakeCamera(formats={fourcc: {SIZE: 30}}, **more)


async def filmed(camera: FakeCamera, count: int = 3, **more: Any) -> CollectingSink:
    """What comes within `count` pictures; afterwards nothing is open, nothing is lent."""
    sink = CollectingSink()
    async with running(source(camera, **more).run(sink)):
        await eventually(lambda: sink.count >= count)
    assert (camera.open, camera.lent) == (0, 0)
    return sink


# Which format


def test_the_wished_size_then_the_rate_then_the_cheaper_format() -> None:
    found = [
        Offer("YUYV", 1280, 720, 10), Offer("MJPG", 1280, 720, 30), Offer("UYVY", 1280, 720, None),
        Offer("NV12", 640, 480, 30), Offer("H264", 1920, 1080, 30),
    ]  # fmt: skip
    assert [offer.fourcc for offer in ranked(found, WISH)] == ["MJPG", "UYVY", "YUYV", "H264", "NV12"]
    same = [Offer(fourcc, 1280, 720, 25) for fourcc in ("YUYV", "MJPG", "YU12", "NV12", "H264")]
    assert [offer.fourcc for offer in ranked(same, WISH)] == ["H264", "NV12", "YU12", "MJPG", "YUYV"]


def test_the_smallest_size_that_covers_the_wish_else_the_largest() -> None:
    assert nearest([(640, 480), (1920, 1080), (1280, 720)], WISH) == (1280, 720)
    assert nearest([(640, 480), (3840, 2160), (1920, 1080)], WISH) == (1920, 1080)
    assert nearest([(320, 240), (640, 480), (1280, 480)], WISH) == (1280, 480)
    assert nearest([], WISH) == (1280, 720)


class Driver:
    """As much of a device as is asked for what it offers; its lists never end."""

    def __init__(self, kind: int, interval: v4l2.Fraction) -> None:
        self._kind = kind
        self._interval = interval
        self.asked = 0

    def ioctl(self, request: int, argument: Any) -> None:
        self.asked += 1
        argument.type = self._kind
        if request == v4l2.ENUM_FMT:
            argument.pixelformat = v4l2.fourcc("YUYV")
        elif request == v4l2.ENUM_FRAMESIZES:
            argument.stepwise = v4l2.Stepwise(*SIZE)
        else:
            argument.shortest = self._interval

    def map(self, offset: int, length: int) -> mmap.mmap:
        raise NotImplementedError

    def wait(self, timeout_s: float) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("kind", "interval", "size", "fps"),
    [(v4l2.DISCRETE, (0, 0), SIZE, None), (v4l2.DISCRETE, (1, 15), SIZE, 15), (3, (1, 60), (1280, 720), 60)],
    ids=["no rate", "a rate", "ranges"],
)
def test_lists_that_never_end(kind: int, interval: tuple[int, int], size: tuple[int, int], fps: int | None) -> None:
    driver = Driver(kind, v4l2.Fraction(*interval))
    assert offers(driver, WISH) == [Offer("YUYV", *size, fps)]
    assert driver.asked <= 3 * MOST_ENTRIES


def test_a_layout_in_words() -> None:
    assert str(Layout("NV12", 320, 180, 320, 10.0)) == "NV12 320x180 at 10 a second"
    assert str(Layout("MJPG", 320, 180, 0, None)) == "MJPG 320x180"


async def test_a_camera_that_lists_no_sizes_gets_the_wish() -> None:
    camera = FakeCamera(lists_sizes=False)
    await filmed(camera)
    assert (camera.fmt, camera.size, camera.fps) == ("MJPG", SIZE, 30)


async def test_any_size_in_a_range_is_taken() -> None:
    camera = FakeCamera(range_of_sizes=True)
    await filmed(camera)
    assert camera.size == SIZE


async def test_what_is_refused_is_followed_by_the_next_best() -> None:
    camera = FakeCamera(refused_formats=("MJPG",))
    sink = await filmed(camera)
    assert (camera.fmt, sink.pictures[0][0].format.name) == ("YUYV", "yuyv422")


async def test_unknown_formats_only_are_no_camera() -> None:
    with pytest.raises(DeviceMissing, match="no camera"):
        await source(one_format("GREY")).run(CollectingSink())


# What comes out


@pytest.mark.parametrize("padding", [0, 32])
@pytest.mark.parametrize(("fourcc", "name"), [("NV12", "nv12"), ("YU12", "yuv420p"), ("YUYV", "yuyv422")])
async def test_raw_pictures_are_those_of_the_camera(fourcc: str, name: str, padding: int) -> None:
    camera = one_format(fourcc, padding=padding)
    sink = await filmed(camera)
    frame, _ = sink.pictures[0]
    assert (frame.width, frame.height, frame.format.name) == (*SIZE, name)
    first = np.frombuffer(coded_as(fourcc, SIZE)[0], np.uint8)
    assert np.array_equal(frame.to_ndarray().reshape(-1), first)


async def test_jpeg_is_decoded() -> None:
    camera = FakeCamera()
    made = source(camera)
    sink = CollectingSink()
    async with running(made.run(sink)):
        await eventually(lambda: sink.count >= 5)
    frame, _ = sink.pictures[0]
    assert (frame.width, frame.height, made.decoders_opened, made._inside) == (*SIZE, 1, False)


async def test_h264_is_handed_through_from_a_keyframe_on() -> None:
    camera = FakeCamera(formats={"MJPG": {SIZE: 30}, "H264": {SIZE: 30}})
    made = source(camera)
    sink = CollectingSink()
    async with running(made.run(sink)):
        await eventually(lambda: sink.count >= 8)
    film = coded_as("H264", SIZE)
    assert [unit.data for unit in sink.units[:8]] == film[:8]
    assert [unit.keyframe for unit in sink.units[:8]] == [n % 6 == 0 for n in range(8)]
    assert made.decoders_opened == 0
    stamps = [unit.timestamp for unit in sink.units]
    assert stamps == sorted(stamps)


async def test_h264_after_a_damaged_picture_waits_for_the_next_keyframe() -> None:
    film = coded_as("H264", SIZE)
    script = [Picture(film[1]), *(Picture(data) for data in film[:2]), Picture(film[2], v4l2.BUF_FLAG_ERROR)]
    script += [Picture(film[3]), Picture(film[6])]
    sink = await filmed(one_format("H264", script=script), 3)
    assert [unit.data for unit in sink.units[:3]] == [film[0], film[1], film[6]]


async def test_h264_that_nobody_can_join_is_given_up_for_another_format() -> None:
    film = coded_as("H264", SIZE)
    script = [Picture(film[0]), *(Picture(film[1]) for _ in range(600))]
    camera = FakeCamera(formats={"MJPG": {SIZE: 30}, "H264": {SIZE: 30}}, script=script)
    made = source(camera, seldom_s=0.3)
    with pytest.raises(SourceLost, match="too seldom"):
        await made.run(CollectingSink())
    camera.script = ()
    sink = CollectingSink()
    async with running(made.run(sink)):
        await eventually(lambda: sink.count >= 2)
    assert (camera.fmt, len(sink.pictures) >= 2) == ("MJPG", True)


async def test_parameter_sets_that_come_once_stand_before_each_keyframe() -> None:
    film = coded_as("H264", SIZE)
    bare = b"".join(h264.START + nal for nal in h264.nals(film[6]) if h264.nal_type(nal) == h264.NAL_IDR)
    sink = await filmed(one_format("H264", script=[Picture(film[0]), Picture(bare)]), 2)
    assert len(h264.parameter_sets(sink.units[1].data)) == 2
    assert len(decoded([av.Packet(unit.data) for unit in sink.units[:2]])) == 2


async def test_overlays_need_pictures_not_h264() -> None:
    camera = FakeCamera(formats={"MJPG": {SIZE: 30}, "H264": {SIZE: 30}})
    await filmed(camera, coded=False)
    assert camera.fmt == "MJPG"


async def test_four_buffers_are_asked_for_and_whatever_comes_is_used() -> None:
    camera = FakeCamera()
    await filmed(camera)
    assert len(camera.mapped) == BUFFERS == 4
    fewer = FakeCamera(buffers=2)
    await filmed(fewer)
    assert len(fewer.mapped) == 2


async def test_of_raw_pictures_only_the_newest_is_taken() -> None:
    film = coded_as("NV12", SIZE)
    sink = await filmed(one_format("NV12", at_once=3, script=[Picture(data) for data in film[:6]]), 2)
    lumas = [frame.to_ndarray().reshape(-1) for frame, _ in sink.pictures[:2]]
    assert [np.array_equal(got, np.frombuffer(film[n], np.uint8)) for got, n in zip(lumas, (2, 5), strict=True)] == [
        True, True,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "age_s", "at_most_s"),
    [(v4l2.BUF_FLAG_TIMESTAMP_MONOTONIC, 0.5, 10.0), (0, 0.5, 0.4), (v4l2.BUF_FLAG_TIMESTAMP_MONOTONIC, -50.0, 0.4)],
    ids=["the machine's clock", "a clock of its own", "a clock that is wrong"],
)
async def test_pictures_carry_the_time_when_they_were_taken(flags: int, age_s: float, at_most_s: float) -> None:
    clock = SystemClock()
    film = coded_as("NV12", SIZE)
    before = clock.monotonic()
    sink = await filmed(one_format("NV12", script=[Picture(data, flags, age_s) for data in film]), 2)
    assert before - at_most_s <= sink.pictures[0][1] <= clock.monotonic()
    if at_most_s > age_s:
        assert sink.pictures[0][1] < clock.monotonic() - age_s
    times = [at for _, at in sink.pictures]
    assert times == sorted(times)


# What goes wrong


@pytest.mark.parametrize("fourcc", ["MJPG", "NV12"])
async def test_empty_damaged_and_truncated_pictures_are_passed_over(fourcc: str) -> None:
    whole = coded_as(fourcc, SIZE)
    script = [
        Picture(b""),
        Picture(whole[0], v4l2.BUF_FLAG_ERROR),
        Picture(whole[1]),
        Picture(whole[2][: len(whole[2]) // 2]),
        Picture(b"\x00" * 40),
        Picture(b"\xff\xd8 no picture \xff\xd9"),
        Picture(whole[3]),
    ]
    sink = await filmed(one_format(fourcc, script=script), 2)
    reference = await filmed(one_format(fourcc, script=[Picture(whole[1]), Picture(whole[3])]), 2)
    for got, wanted in zip(sink.pictures[:2], reference.pictures[:2], strict=True):
        assert np.array_equal(got[0].to_ndarray(), wanted[0].to_ndarray())


async def test_jpegs_that_never_end_are_pictures_all_the_same() -> None:
    script = [Picture(data[:-2]) for data in coded_as("MJPG", SIZE)]
    sink = await filmed(one_format("MJPG", script=script), 3)
    assert sink.pictures[0][0].width == SIZE[0]


OPEN = 0


@pytest.mark.parametrize(
    ("request_", "number", "error", "word"),
    [
        (OPEN, errno.ENOENT, DeviceMissing, "plug one in"),
        (OPEN, errno.EACCES, DeviceMissing, "group video"),
        (OPEN, errno.EBUSY, SourceLost, "another program"),
        (OPEN, errno.ENODEV, SourceLost, "is gone"),
        (v4l2.QUERYCAP, errno.ENOTTY, DeviceMissing, "no camera"),
        (v4l2.ENUM_FMT, errno.EIO, SourceLost, "is gone"),
        (v4l2.S_FMT, errno.EBUSY, SourceLost, "another program"),
        (v4l2.S_FMT, errno.EINVAL, DeviceMissing, "no camera"),
        (v4l2.REQBUFS, errno.EBUSY, SourceLost, "another program"),
        (v4l2.REQBUFS, errno.ENOMEM, SourceLost, "video.width_px"),
        (v4l2.STREAMON, errno.ENOSPC, SourceLost, "USB bus"),
        (v4l2.DQBUF, errno.EIO, SourceLost, "is gone"),
    ],
)
async def test_every_refusal_says_what_to_do(request_: int, number: int, error: type[EdgeNodeError], word: str) -> None:
    camera = FakeCamera(fails={request_: number})
    with pytest.raises(error, match=word):
        await source(camera).run(CollectingSink())
    assert (camera.open, camera.lent) == (0, 0)


async def test_no_buffers_at_all_is_told() -> None:
    with pytest.raises(SourceLost, match="no memory"):
        await source(FakeCamera(buffers=0)).run(CollectingSink())


async def test_a_rate_that_cannot_be_set_does_not_matter() -> None:
    await filmed(FakeCamera(fails={v4l2.S_PARM: errno.ENOTTY}))
    await filmed(FakeCamera(sets_rate=False))


async def test_the_data_node_of_a_camera_is_none() -> None:
    with pytest.raises(DeviceMissing):
        await source(FakeCamera(caps=v4l2.CAP_STREAMING)).run(CollectingSink())


async def test_pulled_out_it_is_lost_and_plugged_in_it_runs_again() -> None:
    camera = FakeCamera()
    made = source(camera)
    sink = CollectingSink()
    running_task = asyncio.create_task(made.run(sink))
    await eventually(lambda: sink.count >= 2)
    camera.plugged.clear()
    with pytest.raises(SourceLost, match="is gone"):
        await running_task
    assert (camera.open, camera.lent) == (0, 0)
    camera.plugged.set()
    again = CollectingSink()
    async with running(made.run(again)):
        await eventually(lambda: again.count >= 2)


async def test_one_that_stands_still_is_noticed_and_let_go() -> None:
    camera = FakeCamera()
    sink = CollectingSink()
    task = asyncio.create_task(source(camera, stall_s=0.3).run(sink))
    await eventually(lambda: sink.count >= 2)
    camera.frozen.set()
    with pytest.raises(SourceLost, match="no pictures any more"):
        await task
    assert (camera.open, camera.lent) == (0, 0)


async def test_a_hanging_driver_is_noticed_and_not_entered_twice() -> None:
    release = threading.Event()
    camera = FakeCamera(hangs=lambda: release.wait(60))
    made = source(camera, stall_s=0.2)
    with pytest.raises(SourceLost, match="no pictures any more"):
        await made.run(CollectingSink())
    with pytest.raises(SourceLost, match="does not let go"):
        await made.run(CollectingSink())
    release.set()
    await eventually(lambda: not made._inside)
    assert (camera.open, camera.lent) == (0, 0)


def test_it_is_a_source_that_cannot_be_asked() -> None:
    port: VideoSource = source(FakeCamera())
    assert (port.label, port.demand) == ("v4l2", None)


# The kernel's edge


def test_the_requests_are_those_of_the_kernel() -> None:
    """As a C compiler computes them from linux/videodev2.h, on 64-bit machines."""
    assert v4l2.QUERYCAP == 0x80685600
    assert (v4l2.ENUM_FMT, v4l2.S_FMT, v4l2.S_PARM) == (0xC0405602, 0xC0D05605, 0xC0CC5616)
    assert (v4l2.REQBUFS, v4l2.QUERYBUF, v4l2.QBUF, v4l2.DQBUF) == (0xC0145608, 0xC0585609, 0xC058560F, 0xC0585611)
    assert (v4l2.STREAMON, v4l2.STREAMOFF) == (0x40045612, 0x40045613)
    assert (v4l2.ENUM_FRAMESIZES, v4l2.ENUM_FRAMEINTERVALS) == (0xC02C564A, 0xC034564B)
    offsets = [getattr(v4l2.Buffer, name).offset for name in ("timestamp", "sequence", "place", "length", "request_fd")]
    assert offsets == [24, 56, 64, 72, 80]
    assert (v4l2.Format.fmt.offset, v4l2.CaptureParameters.timeperframe.offset) == (8, 12)


async def test_a_device_that_is_not_there_is_missing(tmp_path: Path) -> None:
    with pytest.raises(DeviceMissing):
        await V4l2Source(str(tmp_path / "video0"), *SIZE, 30, SystemClock()).run(CollectingSink())


def test_memory_that_a_device_lends_is_its_own(tmp_path: Path) -> None:
    file = tmp_path / "memory"
    file.write_bytes(b"old" + bytes(mmap.PAGESIZE - 3))
    device = KernelDevice(str(file))
    with device.map(0, mmap.PAGESIZE) as memory:
        file.write_bytes(b"new" + bytes(mmap.PAGESIZE - 3))
        assert memory[:3] == b"new"
    device.close()


def test_a_call_of_the_kernel_that_a_signal_interrupts_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[OSError | None] = [InterruptedError(errno.EINTR, ""), None, OSError(errno.EIO, "gone")]

    def answer(*_: object) -> None:
        if error := answers.pop(0):
            raise error

    device = KernelDevice("/dev/null")
    monkeypatch.setattr("edge_node.media.v4l2.device.fcntl.ioctl", answer)
    device.ioctl(v4l2.QUERYCAP, v4l2.Capability())
    assert len(answers) == 1
    with pytest.raises(OSError, match="gone"):
        device.ioctl(v4l2.QUERYCAP, v4l2.Capability())
    device.close()


def test_other_threads_run_while_a_driver_takes_its_time() -> None:
    """CPython's fcntl.ioctl() keeps the interpreter to itself with more than 1024 bytes (IOCTL_BUFSZ)."""
    requests = {name: value for name, value in vars(v4l2).items() if name.isupper() and isinstance(value, int)}
    sizes = {name: value >> 16 & 0x3FFF for name, value in requests.items() if value >> 8 & 0xFF == ord("V")}
    assert len(sizes) == 12
    assert max(sizes.values()) <= 1024


def test_the_kernel_itself_refuses_what_is_no_camera() -> None:
    device = KernelDevice("/dev/null")
    try:
        with pytest.raises(OSError, match=os.strerror(errno.ENOTTY)):
            device.ioctl(v4l2.QUERYCAP, v4l2.Capability())
        assert device.wait(1.0)
    finally:
        device.close()
