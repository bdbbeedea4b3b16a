"""Whether a board can decode what it is sent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edge_node.encode_plan.decode import COST, decode_refusal, vp8_refusal
from edge_node.encode_plan.limits import SOFTWARE, BoardLimits

SLOW = BoardLimits(software=replace(SOFTWARE, max_mb_per_s=36_000, parallel=1))


@pytest.mark.parametrize("codec", COST)
def test_an_ordinary_machine_decodes_1080p(codec: str) -> None:
    assert decode_refusal(BoardLimits(), codec, 1920, 1080, 30) is None


@pytest.mark.parametrize(
    ("board", "codec", "size", "says"),
    [
        (BoardLimits(), "hevc", (3840, 2160), "too slow for H.265 of 3840x2160 pixels: set the camera to H.264"),
        (SLOW, "mjpeg", (1280, 720), "too slow for JPEG of 1280x720 pixels"),
        (BoardLimits(software=None), "h264", (320, 240), "too slow for H.264 with B-frames of 320x240"),
    ],
)
def test_says_what_to_do(board: BoardLimits, codec: str, size: tuple[int, int], says: str) -> None:
    assert says in (decode_refusal(board, codec, *size, 30) or "")


def test_a_slow_board_decodes_a_small_stream() -> None:
    assert decode_refusal(SLOW, "hevc", 640, 360, 15) is None


def test_vp8_of_a_stream_that_others_get_as_it_is() -> None:
    assert vp8_refusal(BoardLimits(), 1920, 1080, 30) is None
    fast = BoardLimits(software=replace(SOFTWARE, max_mb_per_s=10_000_000))
    assert vp8_refusal(fast, 4096, 2304, 30) is None
    for board, size in ((fast, (4112, 2304)), (SLOW, (2560, 1440)), (BoardLimits(software=None), (320, 240))):
        refusal = vp8_refusal(board, *size, 30) or ""
        assert refusal.startswith(
            f"this board cannot make VP8 of {size[0]}x{size[1]} pixels: use a viewer that takes H.264"
        )
