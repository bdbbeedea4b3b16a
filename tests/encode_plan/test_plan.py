"""From a wish to what the board's encoder does."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_node.encode_plan.limits import LEVEL_4_MB_PER_S, SOFTWARE, BoardLimits, EncoderLimits
from edge_node.encode_plan.plan import FLUENT_FPS, Plan, Refusal, Wish, fit, plan

HARDWARE = EncoderLimits("v4l2m2m", LEVEL_4_MB_PER_S, 1920, 1088, 16, 1000, 20_000)
CAMERA = BoardLimits(HARDWARE, None)
PLAIN = BoardLimits()
WISH = Wish(1280, 720, 30, 2000)


def planned(board: BoardLimits, wish: Wish) -> Plan:
    chosen = plan(board, wish)
    assert isinstance(chosen, Plan), chosen
    return chosen


def test_a_wish_within_the_limits_is_granted() -> None:
    assert planned(PLAIN, WISH) == Plan(1280, 720, 30, 2000, 50, "libx264", "3.1", None)


def test_hardware_sizes_are_whole_macroblocks() -> None:
    chosen = planned(CAMERA, replace(WISH, width_px=1296, height_px=972, hardware=True))
    assert (chosen.width_px, chosen.height_px, chosen.encoder, chosen.limited_by) == (1296, 960, "v4l2m2m", "size")


def test_a_wide_picture_keeps_its_shape() -> None:
    chosen = planned(PLAIN, replace(WISH, width_px=3840, height_px=2160))
    assert (chosen.width_px, chosen.height_px, chosen.fps, chosen.limited_by) == (1920, 1080, 30, "size")


def test_too_many_macroblocks_cost_pictures_first() -> None:
    chosen = planned(PLAIN, Wish(1920, 1080, 60, 2000))
    assert (chosen.width_px, chosen.height_px, chosen.fps, chosen.limited_by) == (1920, 1080, 30, "encoder")


def test_below_a_fluent_rate_the_picture_shrinks() -> None:
    small = BoardLimits(None, replace(SOFTWARE, max_mb_per_s=36_000))
    chosen = planned(small, WISH)
    assert chosen.fps == FLUENT_FPS
    assert 900 < chosen.width_px < 1280
    assert chosen.limited_by == "encoder"


def test_heat_halves_the_work() -> None:
    board = BoardLimits(None, replace(SOFTWARE, max_mb_per_s=108_000))
    chosen = planned(board, replace(WISH, hot=True))
    assert (chosen.width_px, chosen.fps, chosen.limited_by) == (1280, 15, "heat")
    assert planned(board, replace(WISH, fps=60, hot=True)).limited_by == "encoder"


def test_bit_rates_have_a_floor_and_a_ceiling() -> None:
    low, high = (planned(CAMERA, replace(WISH, max_kbps=kbps, hardware=True)) for kbps in (300, 25_000))
    assert (low.max_kbps, low.limited_by) == (1000, "bitrate")
    assert (high.max_kbps, high.limited_by) == (20_000, "bitrate")


@pytest.mark.parametrize(
    ("wish", "level"),
    [
        (WISH, "3.1"),
        (replace(WISH, max_kbps=12_000), "4.1"),
        (replace(WISH, width_px=1920, height_px=1080, fps=10), "4.0"),
        (replace(WISH, width_px=1920, height_px=1080, fps=60), "4.2"),
    ],
)
def test_levels(wish: Wish, level: str) -> None:
    strong = BoardLimits(None, replace(SOFTWARE, max_mb_per_s=2 * LEVEL_4_MB_PER_S))
    assert planned(strong, wish).level == level


def test_refusals_say_what_to_do() -> None:
    for board, wish, word in [
        (BoardLimits(None, None), WISH, "rtsp"),
        (PLAIN, replace(WISH, fps=0), "above 0"),
        (PLAIN, replace(WISH, width_px=64, height_px=48), "too small"),
    ]:
        refusal = plan(board, wish)
        assert isinstance(refusal, Refusal)
        assert word in refusal.reason


def test_pictures_are_never_enlarged() -> None:
    chosen = planned(PLAIN, WISH)
    assert fit(640, 480, chosen) == (640, 480)
    assert fit(2560, 1440, chosen) == (1280, 720)
    assert fit(1001, 501, chosen) == (1000, 500)
    assert fit(2, 9000, chosen) == (2, 720)


@given(
    width=st.integers(160, 5000), height=st.integers(96, 4000), fps=st.integers(1, 120), kbps=st.integers(1, 50_000),
    hot=st.booleans(), hardware=st.booleans(), rate=st.integers(4_000, 500_000),
)  # fmt: skip
def test_no_plan_exceeds_its_board(
    width: int, height: int, fps: int, kbps: int, hot: bool, hardware: bool, rate: int
) -> None:
    board = BoardLimits(replace(HARDWARE, max_mb_per_s=rate), replace(SOFTWARE, max_mb_per_s=rate))
    chosen = plan(board, Wish(width, height, fps, kbps, hot, hardware))
    if isinstance(chosen, Plan):
        macroblocks = math.ceil(chosen.width_px / 16) * math.ceil(chosen.height_px / 16)
        assert macroblocks * chosen.fps <= (rate / 2 if hot else rate)
        assert chosen.width_px <= 1920 and chosen.height_px <= 1088 and chosen.fps <= fps
        assert chosen.width_px % 2 == chosen.height_px % 2 == 0
