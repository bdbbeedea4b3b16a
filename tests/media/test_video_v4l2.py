"""Video4Linux cameras, with FFmpeg's test input in place of the device."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Any

import av
import pytest

from edge_node.aio.clock import SystemClock
from edge_node.errors import DeviceMissing, EdgeNodeError, SourceLost
from edge_node.media.v4l2_source import OpenInput, V4l2Source, open_v4l2
from edge_node.ports import VideoSource
from tests.support.video_sink import CollectingSink, running
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from av.container.input import InputContainer


def source(open_input: OpenInput = open_v4l2, stall_s: float = 30.0) -> V4l2Source:
    return V4l2Source(
        "/dev/video77", 320, 240, 30, SystemClock(), open_input=open_input, stall_s=stall_s, first_picture_s=stall_s
    )


def test_input(device: str, options: dict[str, str]) -> InputContainer:
    size = options.get("video_size", "640x480")
    return av.open(f"testsrc=size={size}:rate=30,realtime", format="lavfi")


test_input.__test__ = False  # type: ignore[attr-defined]


async def test_pictures_come_and_the_device_is_let_go() -> None:
    made = source(test_input)
    sink = CollectingSink()
    async with running(made.run(sink)):
        await eventually(lambda: sink.count >= 5)
    frame, _ = sink.pictures[0]
    assert (frame.width, frame.height, made.decoders_opened, made._inside) == (320, 240, 1, False)


async def test_a_camera_without_mjpeg_or_this_size_is_taken_as_it_is() -> None:
    tried: list[dict[str, str]] = []

    def picky(device: str, options: dict[str, str]) -> InputContainer:
        tried.append(options)
        if options:
            raise av.error.ArgumentError(errno.EINVAL, "Invalid argument")
        return test_input(device, options)

    sink = CollectingSink()
    async with running(source(picky).run(sink)):
        await eventually(lambda: sink.count >= 2)
    assert tried == [
        {"video_size": "320x240", "framerate": "30", "input_format": "mjpeg"},
        {"video_size": "320x240", "framerate": "30"},
        {},
    ]
    assert sink.pictures[0][0].width == 640


@pytest.mark.parametrize(
    ("number", "error", "word"),
    [
        (errno.ENOENT, DeviceMissing, "plug one in"),
        (errno.EACCES, DeviceMissing, "group video"),
        (errno.EBUSY, SourceLost, "another program"),
        (errno.ENODEV, SourceLost, "is gone"),
        (errno.EINVAL, DeviceMissing, "no camera"),
    ],
)
async def test_every_refusal_says_what_to_do(number: int, error: type[EdgeNodeError], word: str) -> None:
    def refuse(device: str, options: dict[str, str]) -> InputContainer:
        raise OSError(number, "refused", device)

    with pytest.raises(error, match=word):
        await source(refuse).run(CollectingSink())


async def test_a_device_that_is_not_there_is_missing() -> None:
    with pytest.raises(DeviceMissing):
        await source().run(CollectingSink())


async def test_a_stream_that_ends_is_a_lost_camera() -> None:
    def short(device: str, options: dict[str, str]) -> InputContainer:
        return av.open("testsrc=size=320x240:rate=30:duration=0.2", format="lavfi")

    with pytest.raises(SourceLost, match="ended"):
        await source(short).run(CollectingSink())


class HalfJpeg:
    """A packet that cannot be decoded."""

    def decode(self) -> list[av.VideoFrame]:
        raise av.InvalidDataError(errno.EINVAL, "Invalid data found when processing input")


class Container:
    """FFmpeg's test input with something before or after its first three packets."""

    def __init__(self, before: list[Any], hang: threading.Event | None = None) -> None:
        self._inner = test_input("", {})
        self._before = before
        self._hang = hang
        self.streams = self._inner.streams

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self._inner.close()

    def demux(self, stream: Any) -> Any:
        yield from self._before
        for index, packet in enumerate(self._inner.demux(stream)):
            if index == 3 and self._hang is not None:
                self._hang.wait(60)
                return
            yield packet


async def test_a_hanging_driver_is_noticed_and_not_entered_twice() -> None:
    release = threading.Event()
    made: Any = source(lambda device, options: Container([], release), stall_s=0.2)  # type: ignore[arg-type,return-value]
    sink = CollectingSink()
    with pytest.raises(SourceLost, match="no pictures any more"):
        await made.run(sink)
    assert sink.count == 3
    with pytest.raises(SourceLost, match="does not let go"):
        await made.run(sink)
    release.set()
    await eventually(lambda: not made._inside)


async def test_half_a_picture_is_passed_over() -> None:
    made = source(lambda device, options: Container([HalfJpeg(), HalfJpeg()]))  # type: ignore[arg-type,return-value]
    sink = CollectingSink()
    async with running(made.run(sink)):
        await eventually(lambda: sink.count >= 2)


def test_it_is_a_source_that_cannot_be_asked() -> None:
    port: VideoSource = source()
    assert (port.label, port.demand) == ("v4l2", None)
