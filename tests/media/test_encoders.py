"""What the kernel offers, the board's encoder through FFmpeg with a stand-in, the measured speed."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import pytest

from edge_node.encode_plan.plan import Plan
from edge_node.media import h264
from edge_node.media.encoders import calibration, v4l2m2m
from edge_node.media.encoders.calibration import Calibration, machine_name
from edge_node.media.encoders.cards import offered_cards
from edge_node.media.encoders.codec import TIME_BASE, Codec
from edge_node.media.encoders.libx264 import open_libx264
from edge_node.media.encoders.speed import measure
from edge_node.media.encoders.v4l2m2m import REOPEN_EVERY_PICTURES, BoardCodec, open_v4l2m2m
from edge_node.media.video_encoder import VideoEncoder
from tests.support.clock import ManualClock
from tests.support.h264 import decoded, painted, stamps
from tests.support.waiting import eventually


def test_cards_by_their_names(tmp_path: Path) -> None:
    for name, card in (("video10", "bcm2835-codec-decode"), ("video11", "bcm2835-codec-encode")):
        folder = tmp_path / "sys/class/video4linux" / name
        folder.mkdir(parents=True)
        (folder / "name").write_text(card + "\n")
    (tmp_path / "sys/class/video4linux/video12").mkdir()
    assert offered_cards(tmp_path) == {"/dev/video10": "bcm2835-codec-decode", "/dev/video11": "bcm2835-codec-encode"}
    assert offered_cards(tmp_path / "nowhere") == {}


class Forgetful:
    """libx264 that puts SPS and PPS into its first packet only, as the board's encoder does."""

    def __init__(self, width_px: int, height_px: int, fps: float, kbps: int) -> None:
        self._codec = open_libx264(width_px, height_px, fps, kbps)
        self._first = True
        self.bit_rate: int | None = kbps * 1000

    def encode(self, frame: av.VideoFrame) -> Sequence[av.Packet[Any]]:
        packets = []
        for packet in self._codec.encode(frame):
            kept = [nal for nal in h264.nals(bytes(packet)) if self._first or h264.nal_type(nal) not in (7, 8)]
            bare: av.Packet[Any] = av.Packet(b"".join(h264.START + nal for nal in kept))
            bare.pts, bare.dts, bare.time_base = packet.pts, packet.dts, packet.time_base
            bare.is_keyframe, self._first = packet.is_keyframe, False
            packets.append(bare)
        return packets


class Stand:
    """Opens stand-ins and remembers how."""

    def __init__(self) -> None:
        self.opened: list[tuple[int, int, float, int]] = []

    def __call__(self, width_px: int, height_px: int, fps: float, kbps: int) -> Codec:
        self.opened.append((width_px, height_px, fps, kbps))
        return Forgetful(width_px, height_px, fps, kbps)


def encoded(codec: BoardCodec, count: int, keyframes: Callable[[int], bool] = lambda index: False) -> list[Any]:
    packets: list[Any] = []
    for index, frame in enumerate(painted(count)):
        kind = av.video.frame.PictureType
        frame.pts, frame.time_base = index * 3000, TIME_BASE
        frame.pict_type = kind.I if keyframes(index) else kind.NONE
        packets += codec.encode(frame)
    return packets


def test_every_keyframe_of_the_board_can_be_joined_at() -> None:
    packets = encoded(BoardCodec(320, 240, 30, 400, Stand()), 40, lambda index: index % 10 == 0)
    at = [index for index, packet in enumerate(packets) if packet.is_keyframe]
    assert at == [0, 10, 20, 30]
    for index in at:
        found = h264.parameter_sets(bytes(packets[index]))
        assert set(found) == {h264.NAL_SPS, h264.NAL_PPS}
        assert packets[index].pts == index * 3000
        seen = [stamp.index for stamp in stamps(decoded(packets[index:])) if stamp]
        assert seen == list(range(index, 40))


def test_another_bit_rate_opens_the_board_anew_only_when_it_is_worth_a_keyframe() -> None:
    stand = Stand()
    codec = BoardCodec(320, 240, 30, 1000, stand)
    codec.bit_rate = 400_000
    encoded(codec, REOPEN_EVERY_PICTURES)
    assert len(stand.opened) == 1
    packets = encoded(codec, 10)
    assert [opened[3] for opened in stand.opened] == [1000, 400]
    assert packets[0].is_keyframe
    codec.bit_rate = 450_000
    encoded(codec, REOPEN_EVERY_PICTURES + 10)
    assert len(stand.opened) == 2


PLAN = Plan(1280, 720, 30, 1500, 1000, "h264_v4l2m2m", "3.1")


async def through(plan: Plan, open_board: Callable[[int, int, float, int], Codec]) -> tuple[VideoEncoder, list[Any]]:
    packets: list[Any] = []
    clock = ManualClock()
    encoder = VideoEncoder(plan, clock, lambda packet, _: packets.append(packet), open_board=open_board)
    encoder.want(True)
    for count, frame in enumerate(painted(5, 330, 250), 1):
        clock.advance(1 / 30)
        encoder.offer(frame, clock.monotonic())
        await eventually(lambda count=count: len(packets) >= count)  # type: ignore[misc]
    encoder.close()
    return encoder, packets


async def test_the_plan_says_who_encodes() -> None:
    stand = Stand()
    encoder, packets = await through(PLAN, stand)
    assert stand.opened == [(320, 240, 30.0, 1500)]
    assert (encoder.name, encoder.software_instead) == ("h264_v4l2m2m", False)
    assert len(decoded(packets)) == 5


async def test_a_board_whose_encoder_fails_goes_on_in_software() -> None:
    def refuse(width_px: int, height_px: int, fps: float, kbps: int) -> Codec:
        raise av.error.ExternalError(0, "Could not find a valid device")

    encoder, packets = await through(PLAN, refuse)
    assert (encoder.name, encoder.software_instead, encoder.fault) == ("libx264", True, None)
    assert len(decoded(packets)) == 5


@pytest.mark.skipif(Path("/dev/video11").exists(), reason="this machine may have the encoder")
def test_without_a_board_ffmpeg_says_so() -> None:
    with pytest.raises((av.FFmpegError, ValueError)):
        open_v4l2m2m(320, 240, 30, 1000)


@pytest.mark.hardware
def test_the_boards_encoder_for_real() -> None:
    if not any("bcm2835-codec-encode" in card for card in offered_cards().values()):
        pytest.skip("this board has no H.264 encoder")
    codec = BoardCodec(640, 480, 30, 1500, v4l2m2m.open_raw)
    packets: list[Any] = []
    for index, frame in enumerate(painted(90, 640, 480)):
        kind = av.video.frame.PictureType
        frame.pts, frame.time_base = index * 3000, TIME_BASE
        frame.pict_type = kind.I if index == 45 else kind.NONE
        packets += codec.encode(frame)
    keyframes = [index for index, packet in enumerate(packets) if packet.is_keyframe]
    assert len(keyframes) >= 2
    assert len(packets) >= 80
    for index in keyframes:
        assert len(decoded(packets[index:])) == len(packets) - index


# The measured speed


def measured(folder: Path, *, machine: str = "a board", step_s: float = 0.01) -> tuple[int | None, int]:
    """What Calibration says when each look at the CPU clock finds it step_s later, with how often it looked."""
    looks = [0]

    def cpu_time() -> float:
        looks[0] += 1
        return looks[0] * step_s

    return Calibration(folder, machine=lambda: machine, measure=lambda: measure(cpu_time=cpu_time))(), looks[0]


def test_it_is_measured_once(tmp_path: Path) -> None:
    speed, looks = measured(tmp_path)
    assert speed is not None and looks > 10
    # One look a picture: a picture of 880 macroblocks every 10 ms, of which a share is kept in hand.
    assert speed == pytest.approx(880 / 0.01 * calibration.SHARE, rel=0.05)
    assert measured(tmp_path) == (speed, 0)


def test_it_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    speed = Calibration(tmp_path)()
    assert speed is not None and speed > 100


def test_a_process_that_fails_leaves_the_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for program in (("false",), ("true",), ("/nowhere",)):
        monkeypatch.setattr(calibration, "PROGRAM", program)
        assert Calibration(tmp_path)() is None
    assert caplog.text.count("could not be measured") == 3


def test_another_processor_or_a_damaged_file_is_measured_anew(tmp_path: Path) -> None:
    measured(tmp_path)
    assert measured(tmp_path, machine="a new board")[1] > 0
    assert "a new board" in json.loads((tmp_path / calibration.FILE).read_text())["machine"]
    for text in ("", "[]", '{"mb_per_s": 1}', '{"machine": "x"}'):
        (tmp_path / calibration.FILE).write_text(text)
        assert measured(tmp_path)[1] > 0


def test_another_library_is_measured_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(tmp_path)
    monkeypatch.setattr(av, "__version__", "99.0")
    assert measured(tmp_path)[1] > 0
    assert "PyAV 99.0, libavcodec " in json.loads((tmp_path / calibration.FILE).read_text())["machine"]


def test_a_slow_board_is_not_kept_busy(tmp_path: Path) -> None:
    speed, looks = measured(tmp_path, step_s=0.4)
    assert looks < 8
    assert speed is not None and speed < 2000


def test_a_place_that_cannot_be_written_is_only_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert measured(tmp_path / "nowhere")[0] is not None
    assert "not remembered" in caplog.text


def test_an_encoder_that_does_not_open_leaves_the_profile(tmp_path: Path) -> None:
    def refuse(width_px: int, height_px: int, fps: float, kbps: int) -> Codec:
        raise ValueError("no such codec")

    assert Calibration(tmp_path, measure=lambda: measure(refuse))() is None


def test_the_processors_name(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nCPU part\t: 0xd03\n\nModel\t\t: Raspberry Pi 3\n")
    assert machine_name(tmp_path).endswith("0xd03, Raspberry Pi 3")
    assert machine_name(tmp_path / "nowhere").endswith("unknown")
