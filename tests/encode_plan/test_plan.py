"""From a wish to what the board's encoder does."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edge_node.encode_plan import rules
from edge_node.encode_plan.limits import HARDWARE, SOFTWARE, BoardLimits
from edge_node.encode_plan.plan import (
    FLUENT_FPS,
    MIN_FPS,
    MOST_VIEWERS,
    Plan,
    Refusal,
    Situation,
    Source,
    Wish,
    fit,
    may_transcode,
    most_viewers,
    plan,
)

CAMERA = BoardLimits(HARDWARE, None)
PLAIN = BoardLimits()
SLOW = replace(SOFTWARE, max_mb_per_s=36_000, parallel=1)
ZERO = BoardLimits(HARDWARE, SLOW, sending_kbps=12_000, buffers=2, main_cbr_hangs=True)
WISH = Wish(1280, 720, 30, 2000)


def planned(board: BoardLimits, wish: Wish, now: Situation | None = None) -> Plan:
    chosen = plan(board, wish, now or Situation())
    assert isinstance(chosen, Plan), chosen
    return chosen


def refused(outcome: Plan | Refusal) -> str:
    assert isinstance(outcome, Refusal), outcome
    return outcome.reason


def test_a_wish_within_the_limits_is_granted() -> None:
    assert planned(PLAIN, WISH) == Plan(1280, 720, 30, 2000, 50, "libx264", "3.1", None, "superfast", 5)


def test_hardware_sizes_are_whole_macroblocks() -> None:
    chosen = planned(CAMERA, Wish(1296, 972, 30, 2000, Source.CAMERA))
    assert (chosen.width_px, chosen.height_px, chosen.encoder, chosen.limited_by) == (1296, 960, "v4l2m2m", "size")


def test_a_wide_picture_keeps_its_shape() -> None:
    chosen = planned(PLAIN, replace(WISH, width_px=3840, height_px=2160))
    assert (chosen.width_px, chosen.height_px, chosen.fps, chosen.limited_by) == (1920, 1080, 30, "size")


def test_too_many_macroblocks_cost_pictures_first() -> None:
    chosen = planned(PLAIN, Wish(1920, 1080, 60, 2000))
    assert (chosen.width_px, chosen.height_px, chosen.fps, chosen.limited_by) == (1920, 1080, 30, "encoder")


def test_below_a_fluent_rate_the_picture_shrinks() -> None:
    chosen = planned(BoardLimits(None, SLOW), WISH)
    assert chosen.fps == FLUENT_FPS
    assert 900 < chosen.width_px < 1280
    assert chosen.limited_by == "encoder"


def test_the_better_preset_where_the_board_can_afford_it() -> None:
    board = BoardLimits(None, replace(SOFTWARE, max_mb_per_s=108_000))
    assert planned(board, WISH).preset == "ultrafast"
    assert planned(board, replace(WISH, width_px=640, height_px=480)).preset == "superfast"


def test_pictures_in_memory_take_the_boards_encoder_when_the_processor_cannot_keep_up() -> None:
    assert planned(ZERO, Wish(640, 480, 30, 2000)).encoder == "libx264"
    assert planned(ZERO, Wish(640, 480, 30, 2000, Source.FOREIGN)).encoder == "h264_v4l2m2m"
    chosen = planned(ZERO, Wish(1296, 972, 30, 500))
    assert (chosen.encoder, chosen.width_px, chosen.height_px) == ("h264_v4l2m2m", 1280, 960)
    assert (chosen.max_kbps, chosen.limited_by) == (1000, "size, bitrate")
    assert planned(CAMERA, WISH).encoder == "h264_v4l2m2m"


def test_what_has_to_be_decoded_first_takes_its_time() -> None:
    foreign = Wish(1920, 1080, 30, 4000, Source.FOREIGN)
    assert planned(PLAIN, foreign).fps == 30
    alone = BoardLimits(None, replace(SOFTWARE, parallel=1))
    assert (planned(alone, foreign).fps, planned(alone, foreign).limited_by) == (15, "encoder")
    for board in (ZERO, CAMERA):
        assert "without B-frames" in refused(plan(board, foreign))


def test_two_parallel_encodes_go_and_four_do_not() -> None:
    full_hd = Wish(1920, 1080, 30, 4000)
    one = planned(PLAIN, full_hd)
    assert (one.fps, one.preset) == (30, "ultrafast")
    assert planned(PLAIN, full_hd, Situation(other_mb_per_s=one.work_mb_per_s)).fps == 30
    assert "already encodes" in refused(plan(PLAIN, full_hd, Situation(other_mb_per_s=2 * 245_760)))


def test_the_governor_takes_its_share_and_is_named() -> None:
    hot = Situation(share=0.5, causes=("heat", "late"))
    chosen = planned(PLAIN, WISH, hot)
    assert (chosen.width_px, chosen.fps, chosen.limited_by) == (1280, 15, "heat, late")
    less = planned(PLAIN, WISH, replace(hot, share=0.25))
    assert less.fps == FLUENT_FPS and less.width_px < 1280
    both = planned(BoardLimits(None, SLOW), WISH, hot)
    assert both.limited_by == "encoder, heat, late"


def test_a_camera_module_keeps_its_size_under_pressure() -> None:
    wish = replace(WISH, source=Source.CAMERA)
    for share, fps in ((0.75, 22), (0.25, 7)):
        chosen = planned(CAMERA, wish, Situation(share=share, causes=("heat",)))
        assert (chosen.width_px, chosen.height_px, chosen.fps) == (1280, 720, fps)
    assert planned(CAMERA, replace(wish, fps=8), Situation(share=0.25)).fps == MIN_FPS


def test_pressure_alone_never_makes_a_picture_useless() -> None:
    chosen = planned(PLAIN, Wish(176, 96, 15, 300), Situation(share=0.25, causes=("heat",)))
    assert (chosen.width_px, chosen.height_px, chosen.fps) == (176, 96, MIN_FPS)


def test_bit_rates_have_a_floor_and_a_ceiling() -> None:
    wish = replace(WISH, source=Source.CAMERA)
    low, high = (planned(CAMERA, replace(wish, max_kbps=kbps)) for kbps in (300, 25_000))
    assert (low.max_kbps, low.limited_by) == (1000, "bitrate")
    assert (high.max_kbps, high.limited_by) == (20_000, "bitrate")


def test_many_viewers_share_what_the_board_can_send() -> None:
    wish = replace(WISH, source=Source.CAMERA)
    assert planned(ZERO, wish, Situation(viewers=6)).limited_by is None
    eight = planned(ZERO, wish, Situation(viewers=8))
    assert (eight.max_kbps, eight.limited_by) == (1500, "viewers")
    assert "20 viewers" in refused(plan(ZERO, wish, Situation(viewers=20)))


def test_what_is_handed_through_needs_no_encoder() -> None:
    wish = Wish(1920, 1080, 30, 4000, Source.CODED)
    chosen = planned(BoardLimits(None, None), wish)
    assert (chosen.encoder, chosen.level, chosen.work_mb_per_s) == ("passthrough", "4.0", 0)
    assert planned(ZERO, wish, Situation(viewers=8)).limited_by == "viewers"
    assert "let fewer watch" in refused(plan(ZERO, wish, Situation(viewers=16)))


def test_how_many_may_watch_is_what_the_plan_refuses_nobody_of() -> None:
    coded = replace(WISH, source=Source.CODED)
    for wish, most in ((coded, 24), (WISH, 12), (replace(WISH, width_px=64, height_px=48), 0)):
        assert most_viewers(ZERO, wish) == most
        if most:
            planned(ZERO, wish, Situation(viewers=most))
            assert "let fewer watch" in refused(plan(ZERO, wish, Situation(viewers=most + 1)))
    assert most_viewers(PLAIN, replace(coded, max_kbps=50)) == MOST_VIEWERS


def test_the_governor_takes_from_what_is_handed_through_down_to_a_quarter() -> None:
    coded = replace(WISH, source=Source.CODED)
    for share, kbps, limited_by in ((1.0, 2000, None), (0.5, 1000, "heat"), (0.1, 500, "heat")):
        chosen = planned(ZERO, coded, Situation(share=share, causes=("heat",)))
        assert (chosen.max_kbps, chosen.limited_by) == (kbps, limited_by)
    assert planned(ZERO, coded, Situation(8, share=0.5, causes=("heat",))).limited_by == "viewers, heat"


def test_a_small_board_gets_few_buffers() -> None:
    assert planned(replace(ZERO, buffers=5), WISH, Situation(memory_mb=415)).buffers == 2


def test_refusals_say_what_to_do() -> None:
    assert "rtsp" in refused(plan(BoardLimits(None, None), WISH))
    assert "above 0" in refused(plan(PLAIN, replace(WISH, fps=0)))
    assert "too small" in refused(plan(PLAIN, replace(WISH, width_px=64, height_px=48)))


def test_vp8_is_made_where_there_is_time_for_it() -> None:
    main = planned(PLAIN, WISH)
    vp8 = may_transcode(PLAIN, WISH, main)
    assert isinstance(vp8, Plan)
    assert (vp8.encoder, vp8.limited_by) == ("libvpx", "encoder")
    assert main.work_mb_per_s + vp8.work_mb_per_s <= 2 * 245_760
    strong = BoardLimits(None, replace(SOFTWARE, max_mb_per_s=500_000))
    whole = may_transcode(strong, WISH, planned(strong, WISH))
    assert isinstance(whole, Plan)
    assert (whole.width_px, whole.fps, whole.limited_by) == (1280, 30, None)


def test_vp8_is_refused_where_there_is_none() -> None:
    busy = Plan(1280, 720, 10, 2000, 50, "libx264", "3.1", None, "ultrafast")
    assert "cannot make VP8" in refused(may_transcode(CAMERA, WISH))
    assert "no time left" in refused(may_transcode(ZERO, WISH, busy))
    assert "no time left" in refused(may_transcode(PLAIN, replace(WISH, width_px=100)))
    beside_hardware = may_transcode(ZERO, WISH, planned(ZERO, replace(WISH, source=Source.CAMERA)))
    assert isinstance(beside_hardware, Plan) and beside_hardware.fps == FLUENT_FPS


def test_pictures_are_never_enlarged() -> None:
    chosen = planned(PLAIN, WISH)
    assert fit(640, 480, chosen) == (640, 480)
    assert fit(2560, 1440, chosen) == (1280, 720)
    assert fit(1001, 501, chosen) == (1000, 500)
    assert fit(2, 9000, chosen) == (2, 720)
    copied = replace(chosen, encoder="h264_v4l2m2m")
    assert fit(1000, 700, copied) == (960, 688)
    assert fit(20, 10, copied) == (64, 16)


@given(
    width=st.integers(160, 5000), height=st.integers(96, 4000), fps=st.integers(1, 120), kbps=st.integers(1, 50_000),
    share=st.sampled_from((1.0, 0.75, 0.5, 0.35, 0.25)), source=st.sampled_from(list(Source)),
    rate=st.integers(4_000, 500_000), other=st.integers(0, 600_000), viewers=st.integers(1, 40),
)  # fmt: skip
def test_no_plan_exceeds_its_board(
    width: int, height: int, fps: int, kbps: int, share: float, source: Source, rate: int, other: int, viewers: int
) -> None:
    board = BoardLimits(replace(HARDWARE, max_mb_per_s=rate), replace(SOFTWARE, max_mb_per_s=rate))
    now = Situation(viewers=viewers, share=share, causes=("heat",), other_mb_per_s=other)
    for limits in (board, board.without_hardware()):
        chosen = plan(limits, Wish(width, height, fps, kbps, source), now)
        if isinstance(chosen, Plan) and source is not Source.CODED:
            assert rules.macroblocks(chosen.width_px, chosen.height_px) * chosen.fps <= rate
            assert chosen.width_px <= 1920 and chosen.height_px <= 1088 and chosen.fps <= fps
            assert chosen.width_px % 2 == chosen.height_px % 2 == 0
            assert chosen.min_kbps <= chosen.max_kbps
            assert chosen.max_kbps * viewers <= board.sending_kbps
            assert fit(chosen.width_px, chosen.height_px, chosen) == (chosen.width_px, chosen.height_px)
            if chosen.encoder == "libx264":
                assert chosen.work_mb_per_s <= max(rate, 0) and chosen.work_mb_per_s <= 2 * rate - other
